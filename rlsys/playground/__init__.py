"""Tiny tasks and tiny models that make every loop runnable on a CPU in minutes."""
