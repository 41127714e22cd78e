"""HTML pages that load nothing: their style sheet, and plots as SVG. Imports nothing of this package."""
