"""The edge: HTTP in, HTTP out. Imports pipeline and journal; no engine, no image code, no database."""
