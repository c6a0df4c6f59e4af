"""Where the final answer of a text is, and whether it equals the known one: the same code for rewards, evaluation,
rejection sampling and maj@k."""
