"""Runs side by side: `together.together`, as text and as a page."""
