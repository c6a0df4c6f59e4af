"""The over-optimisation curve of Gao, Schulman & Hilton 2022 (arXiv 2210.10760) on the playground; see
`docs/over_optimization.md`."""
