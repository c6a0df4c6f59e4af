"""Self-Instruct: `method.py` is the method, beside it what it asks, reads and leaves out."""

from rlsys.methods.self_instruct.method import Config, Method

__all__ = ["Config", "Method"]
