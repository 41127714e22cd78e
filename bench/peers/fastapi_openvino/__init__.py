"""FastAPI with OpenVINO, a thread a request: no batching."""
