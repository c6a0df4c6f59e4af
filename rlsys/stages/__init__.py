"""Training stages without sampling: one file each, exposing `Config` and `Algorithm`. The folder is the registry."""
