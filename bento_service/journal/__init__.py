"""The journal: receipts written in the background, and history read from them. Imports database and below."""
