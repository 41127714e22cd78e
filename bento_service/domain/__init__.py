"""Values that the rooms hand each other: immutable, and free of any library but numpy. Imports no other room."""
