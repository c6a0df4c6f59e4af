"""rlsys: post-training of language models with feedback. This package is the library: it never imports Ray, vLLM or
DeepSpeed, but for `rlsys.train`, which starts them as the command does."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlsys.library import Run, train

__all__ = ["Run", "__version__", "train"]

__version__ = "0.1.0"

# Where bitsandbytes is installed, peft imports it, and it misses a kernel that nothing here uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """`import rlsys` costs nothing: `rlsys.library` is imported when it is asked for something."""
    if name in ("Run", "train"):
        from rlsys import library

        return vars(library)[name]
    raise AttributeError(f"module 'rlsys' has no attribute {name!r}")
