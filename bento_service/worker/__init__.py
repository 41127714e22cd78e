"""One worker process and the supervisor of all: load, be ready, drain, leave. Imports http and the rooms below it."""
