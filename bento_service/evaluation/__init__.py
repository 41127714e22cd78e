"""How well a model does on labelled photographs: folders in, figures out, as text, JSON and one HTML page.

Knows no web framework and no engine: callers pass the answers in. Imports `images`, `pages` and `domain`.
"""
