"""What runs Lightbox in production: configurations, and what writes them."""
