"""Ray Serve with `@serve.batch`."""
