"""The Ray side: one file per role. Knows no method."""
