"""Adapters in service: which may be served on a model, and which of them answers a request."""
