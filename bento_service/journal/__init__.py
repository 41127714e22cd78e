"""The journal: stored receipts, and what can be read from them."""
