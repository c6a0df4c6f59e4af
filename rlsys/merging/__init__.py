"""Merging models: one file per way, named as in a config (`by: ties` is `ties.py`), and what streams their weights."""
