"""How well a model does on labelled photographs: folders in, figures out, as text, JSON and one HTML page.

Knows no web framework and no engine: whoever calls it brings the answers. Imports `images`, `pages` and `domain`.
"""
