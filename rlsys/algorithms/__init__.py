"""Reinforcement-learning algorithms: one file each, exposing `Config` and `Algorithm`. The folder is the registry."""
