"""From an error status of BentoML's own pages and probes to the problem that it stands for."""

from starlette.datastructures import Headers
from starlette.types import Scope

from bento_service.domain.service import ServiceState
from bento_service.errors import DrainingError, InvalidParameterError, NotReadyError
from bento_service.http.request_id import request_id_of
from bento_service.http.responses.problems import ProblemResponse, answer_error, answer_internal_error, build_problem
from bento_service.http.routes.status import StatusProvider

_RETRY_AFTER_S = 1.0


def translate_failure(scope: Scope, status: int, headers: Headers, read_status: StatusProvider) -> ProblemResponse:
    """Return the problem for a request that BentoML answered with `status`, 400 or more, and `headers`."""
    request_id = request_id_of(scope)
    path = scope["path"]
    if status == 404:
        return ProblemResponse(build_problem("not_found", f"There is nothing at {path}.", request_id))
    if status == 405:
        allowed = headers.get("allow", "")
        detail = f"{path} does not take {scope['method']}; it takes {allowed}."
        return ProblemResponse(build_problem("method_not_allowed", detail, request_id), {"Allow": allowed})
    if status == 503:
        return answer_error(_explain_unavailable(read_status), request_id)
    if status < 500:
        refused = InvalidParameterError(f"{path} cannot be had as the request's headers ask for it (status {status}).")
        return answer_error(refused, request_id)
    return answer_internal_error(request_id)


def _explain_unavailable(read_status: StatusProvider) -> DrainingError | NotReadyError:
    if read_status().state is ServiceState.DRAINING:
        return DrainingError("This server is shutting down. Try again.", retry_after_s=_RETRY_AFTER_S)
    return NotReadyError("The models are not ready. Try again.", retry_after_s=_RETRY_AFTER_S)
