"""Load from a schedule, what a server made of it, and what that says of its capacity.

`generator` sends requests to any server that takes a POST with a body; the rest is about Lightbox's answers.
"""
