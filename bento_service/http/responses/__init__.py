"""Answers: messages of the contract, problems, OpenAPI. Imports `requests` and the domain."""
