"""SQLAlchemy: connections, tables and migrations of all that is stored. Imports errors and domain."""
