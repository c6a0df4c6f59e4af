"""Verifiers and rules: one file each, exposing `Config` and `Reward`. The folder is the registry."""
