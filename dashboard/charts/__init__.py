"""Pure functions from what the service said to Altair charts. `answer` draws one receipt, `history` a window."""
