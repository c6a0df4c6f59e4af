"""Each question of a task belongs to one split by its hash, so splits never share a question."""

from __future__ import annotations

from rlsys.errors import ConfigError
from rlsys.samples import stable_seed

SPLITS = ("train", "test")
TEST_SHARE = 8
"""One question in so many is a test question."""


def split_of(task: str, key: str) -> str:
    """Questions with equal keys are in the same split."""
    return "test" if stable_seed(task, key) % TEST_SHARE == 0 else "train"


def check_split(task: str, split: str) -> None:
    if split not in SPLITS:
        raise ConfigError(f"playground:{task}: no split {split!r}; there are {', '.join(SPLITS)}")
