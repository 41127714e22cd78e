"""The `lightbox` command, a module a subcommand; `app` declares what can be typed. Imports what it needs, late."""
