"""Experiments on users: what was shown to whom, what came of it, and what may be concluded."""
