"""Other servers of the same model, each written as its own documentation recommends; `bench.compare` runs them."""
