"""One benchmark at one size: `python -m benchmarks.worker NAME SIZE REPEATS FOLDER OUTPUT`, called by `python -m
benchmarks`."""

from __future__ import annotations

import json
import signal
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.workload import Settings


def main(name: str, size: str, repeats: str, folder: str, output: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it stops what it started
    results = import_module(f"benchmarks.{name}").run(Settings(size, int(repeats), Path(folder)))
    Path(output).write_text(json.dumps([result.record() for result in results]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
