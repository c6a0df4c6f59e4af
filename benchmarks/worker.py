"""One benchmark at one size: `python -m benchmarks.worker NAME SIZE REPEATS LOAD FOLDER OUTPUT`, called by `python -m
benchmarks`. LOAD is `full` or `quick`."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

from rlsys.errors import RlsysError


def main(name: str, size: str, repeats: str, load: str, folder: str, output: str) -> None:
    """Raises SystemExit with one line for an error that is ours; its traceback comes before it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it stops what it started
    run = import_module(f"benchmarks.{name}").run
    from actors.spawn import spawn
    from benchmarks.workload import Settings

    try:
        results = run(Settings(size, int(repeats), Path(folder), quick=load == "quick"), spawn)
        Path(output).write_text(json.dumps([result.record() for result in results]), encoding="utf-8")
    except RlsysError as error:
        traceback.print_exc()
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main(*sys.argv[1:])
