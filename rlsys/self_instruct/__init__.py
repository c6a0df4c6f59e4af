"""Self-Instruct's parts: the words of its prompts, what is read from the answers, what is left out, and the pool that new tasks must differ from."""
