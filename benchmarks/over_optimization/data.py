"""Data of the experiment: demonstrations some of which are too long, comparisons none of which are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from rlsys.files import to_json, write_whole
from rlsys.playground import letters
from rlsys.samples import stable_seed

SHORT, LONG = (1, letters.WANTED), (letters.WANTED + 1, 2 * letters.WANTED)
LONG_SHARE = {"base": 0.1, "sft": 0.02}
"""Of the demonstrations of each model: the base, from which the reward model and the policy start, reads long answers
well enough to extrapolate to them; the policy seldom writes them, so that it takes optimisation to get there."""
ANSWERS = 16
"""Demonstrations per prompt."""
PAIRS = {"train": 5_000, "test": 1_000}
"""Few, so that the reward model is no perfect one within their lengths either."""


def write(folder: Path, seed: int) -> dict[str, Path]:
    """Write all files; returns them by name."""
    files = {name: demonstrations(share, seed) for name, share in LONG_SHARE.items()}
    files |= {
        f"comparisons_{split}": letters.comparisons(split, pairs, SHORT, seed=seed) for split, pairs in PAIRS.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _write(folder / f"{name}.jsonl", rows) for name, rows in files.items()}


def demonstrations(long_share: float, seed: int) -> list[dict[str, str]]:
    """Random answers to the training prompts: of 1 to 6 letters, and `long_share` of them of 7 to 12."""
    chance = Random(stable_seed("over-optimization", long_share, seed))
    prompts = [prompt for prompt in letters.prompts() if letters.split(prompt) == "train"]
    return [
        {
            "prompt": prompt,
            "answer": letters.random_answer(prompt, LONG if chance.random() < long_share else SHORT, chance),
        }
        for prompt in prompts
        for _ in range(ANSWERS)
    ]


def _write(file: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    write_whole(file, "".join(to_json(row) + "\n" for row in rows))
    return file
