"""What is trained of a model: one file per kind, named as in `model.adapter: {kind: lora}`. `base.py` says what an
adapter is; no algorithm knows of any."""
