"""The only files that import DeepSpeed or vLLM."""
