"""One connection, below the application: limits, lingering close, early refusals. May import uvicorn."""
