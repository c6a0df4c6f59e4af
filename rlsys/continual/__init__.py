"""Continual learning: one file per choice against forgetting, and what a sequence of tasks is measured by."""
