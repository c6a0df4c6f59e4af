"""Configuration: frozen pydantic models, one YAML per experiment, `key=value` overrides, errors of one line."""
