"""One image's way from admission to receipt, without HTTP. Imports the rooms below it, and no web framework."""
