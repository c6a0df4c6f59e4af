"""Loading of models and adapters."""
