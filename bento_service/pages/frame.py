"""The frame of a page that loads nothing: no network, no script; light or dark as the reader's system."""

from jinja2 import Environment
from markupsafe import Markup

# The content policy holds back what escaping might miss.
_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --back: #fff; --ink: #1c2126; --faint: #5c6670; --rule: #d9dee3; }
@media (prefers-color-scheme: dark) { :root { --back: #14181c; --ink: #e6eaee; --faint: #9aa3ad; --rule: #333b43; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.1rem; font-weight: 600; color: var(--faint); margin: 0; }
.verdict { font-size: 1.6rem; font-weight: 650; line-height: 1.3; margin: .2rem 0 .6rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
.axis { fill: var(--faint); font-size: 11px; } .grid { stroke: var(--rule); }
.guide { stroke: var(--ink); stroke-dasharray: 5 4; } .line { fill: none; stroke-width: 2; }
.bar { stroke: none; } polyline.line { fill: none; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
td, th { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
{{ style }}</style></head><body>
{{ body }}</body></html>
"""


def render_page(body: str, *, title: str, style: str, **values: object) -> str:
    """Return a page; `body` is a Jinja template of `values`, each of which is escaped unless it is `Markup`.

    `style` adds rules to the style sheet. An image may be a data URI, and nothing else may be loaded.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    rendered = environment.from_string(body).render(values)
    return environment.from_string(_FRAME).render(title=title, style=Markup(style), body=Markup(rendered))  # noqa: S704 - our own rules, and escaped above
