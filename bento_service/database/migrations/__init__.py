"""Alembic's folder: one file a step of the schema. A package, so that wheels and bentos carry it."""
