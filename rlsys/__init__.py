"""rlsys: post-training of language models with feedback. This package is the library: it never imports Ray, vLLM or
DeepSpeed."""

import logging

__version__ = "0.1.0"

# Where bitsandbytes is installed, peft imports it, and it misses a kernel that nothing here uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
