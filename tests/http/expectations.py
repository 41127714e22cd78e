"""What every problem has in common."""

from httpx2 import Response

from lightbox_client.contract import Problem


def expect_problem(response: Response, status: int, code: str) -> Problem:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code)
    assert problem.request_id == response.headers["x-request-id"]
    assert problem.detail
    return problem
