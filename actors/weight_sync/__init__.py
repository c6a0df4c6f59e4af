"""The only path from trainer to sampler: sent, versioned, proven."""
