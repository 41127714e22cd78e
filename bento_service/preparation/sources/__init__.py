"""Where the weights of models come from, a module a source."""
