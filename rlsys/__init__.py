"""rlsys: post-training of language models with feedback. This package is the library: it never imports Ray, vLLM or
DeepSpeed."""

__version__ = "0.1.0"
