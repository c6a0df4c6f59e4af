"""Our side against what could be had without us, as ratios: `python -m benchmarks`. What each one measures is in
docs/benchmarks.md."""
