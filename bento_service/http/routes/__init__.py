"""The calls, a module a resource."""
