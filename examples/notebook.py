"""A run from Python, as in a notebook: `python examples/notebook.py [KEY=VALUE ...]`, with settings as for `rlsys
train`."""

from __future__ import annotations

import sys
from pathlib import Path

import rlsys

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def main(settings: list[str]) -> None:
    run = rlsys.train(CONFIG, settings)  # or a mapping: {"seed": 1, "grpo.loop.steps": 20}

    after = run.summary()["after"]
    sys.stdout.write(f"held-out accuracy: {after['eval/accuracy_sampled']:.3f}\n")

    for line in run.stages["grpo"].metrics():  # pandas.DataFrame(run.metrics()) has them as a table
        if "reward/mean" in line:
            sys.stdout.write(f"step {line['step']}: reward {line['reward/mean']:.3f}\n")

    for sample in run.samples(phase="train", most=3):
        sys.stdout.write(f"{sample.prompt!r} -> {sample.response!r}: {sample.reward}\n")

    sys.stdout.write(f"report: {run.report()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
