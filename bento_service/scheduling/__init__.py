"""The adaptive runner: lanes that take what waits, a policy that says how much, admission that says when to refuse."""
