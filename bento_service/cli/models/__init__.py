"""`lightbox models`, a module a concern; `commands` declares what can be typed."""
