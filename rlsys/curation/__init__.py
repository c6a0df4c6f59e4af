"""Curation: what data sets have that nobody should train on, what is done about it, and how they are reported."""
