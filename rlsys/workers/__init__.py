"""Processes for calls that may hang, crash or take all memory: `pool` is the caller's side, `serve` the worker's."""
