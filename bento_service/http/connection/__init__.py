"""One connection, below the application: limits, lingering close, early rejections. May import uvicorn."""
