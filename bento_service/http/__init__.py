"""The HTTP edge: FastAPI routers over a wired classifier and journal. It knows nothing of BentoML."""
