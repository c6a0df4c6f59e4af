"""A run that goes on is the run that it was, but for what may change. Settings that may are in one table and are obeyed
from the next step on; all others, and the content of the data, must be what the checkpoint was made with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import xxhash

from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, DataError
from rlsys.run.state import read_state

TRAINING = ("learning_rate", "schedule", "warmup_steps", "max_grad_norm", "tokens_per_micro_batch", "threads")
"""Of `policy` and `critic`: what a rank takes from its config and not from its saved state."""
FROZEN = ("ranks", "threads", "tokens_per_micro_batch")
MAY_CHANGE = (
    "name",
    "output",
    "logging.*",
    "cluster.*",
    "scoring.*",
    "rollout.*",
    "weight_sync.*",
    "loop.*",
    *(f"{role}.{key}" for role in ("policy", "critic") for key in TRAINING),
    *(f"{role}.{key}" for role in ("reference", "teacher", "reward_models.*") for key in FROZEN),
    "reference.share",
    "judge.engine.*",
    "judge.endpoint",
    "judge.endpoint.*",
    "judge.cache",
    "judge.canary_alarm",
    # Where the data lie, not what is in them: `check_data` sees to that.
    "data.eval.path",
    "data.pretrain.path",
)
"""Settings that a run may go on with when they are changed, as patterns."""
ALONE = ("data.train.path",)
"""Further ones, where the training set is one: a mixture draws from its sets by their names."""


@dataclass
class Beginning:
    """Where a run begins: anew, or at a checkpoint."""

    config: Experiment
    """As it was given."""
    checkpoint: Path | None = None
    saved: Mapping[str, Any] = field(default_factory=dict)
    """`read_state` of the checkpoint."""
    changed: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, checkpoint: Path | None, config: Experiment, where: Path) -> Beginning:
        """Raises ConfigError for changes of the config (the file `where`) that can't be obeyed."""
        if checkpoint is None:
            return cls(config)
        saved = read_state(checkpoint)
        if "config" not in saved:
            untold = f"{checkpoint.name} does not tell its config and data (an older rlsys wrote it): not compared"
            return cls(config, checkpoint, saved, [untold])
        return cls(config, checkpoint, saved, changes(saved["config"], config, saved["state"].step, str(where)))

    def check(self, steps: int, contents: Mapping[str, str]) -> None:
        """What can be said once the data are read: `steps` of the run in all, `content` of each data set. Raises
        ConfigError or DataError."""
        if "config" in self.saved:
            check_steps(steps, self.saved["state"].step)
            check_data(self.saved["data"], contents)

    def origin(self, contents: Mapping[str, str]) -> dict[str, Any]:
        """What the run's checkpoints tell of config and data."""
        return {"config": self.config.model_dump(mode="json"), "data": dict(contents)}


def changes(before: Mapping[str, Any], experiment: Experiment, step: int, where: str) -> list[str]:
    """What is changed since the checkpoint of `step`, whose config is `before`: a line for each setting. Raises
    ConfigError, with a line for each, if one of them may not change; `where` is the config's file."""
    was, now = flat(before), flat(experiment.model_dump(mode="json"))
    changed = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    may = MAY_CHANGE if experiment.data.also else (*MAY_CHANGE, *ALONE)
    refused = [key for key in changed if not any(fnmatchcase(key, pattern) for pattern in may)]
    if refused:
        raise ConfigError(
            "\n".join(
                f"{where}: {key}: was {was.get(key)!r} up to step {step} and is {now.get(key)!r} now, which a run that "
                "goes on can't obey; set it back, or start a new run"
                for key in refused
            )
        )
    return [f"{key} is changed from {was.get(key)!r} to {now.get(key)!r}" for key in changed]


def check_steps(steps: int, step: int) -> None:
    """Raises ConfigError if the run is to end before the checkpoint that it would go on from."""
    if steps < step:
        raise ConfigError(
            f"loop.steps: is {steps}, and the run is at step {step} already; give at least as many, or "
            "go on from an earlier checkpoint with --from"
        )


def check_data(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises DataError if the usable rows of a data set are not those that the checkpoint's run had; both are
    `content` by section of the config."""
    changed = [section for section in {**before, **now} if before.get(section) != now.get(section)]
    if changed:
        raise DataError(
            f"{', '.join(changed)}: the rows are not those that the run was trained on so far (other content or "
            "order); bring the old data back, or start a new run"
        )


def content(rows: Iterable[Any]) -> str:
    """XXH3 (128 bits, hex) of everything in the rows, in their order."""
    digest = xxhash.xxh3_128()
    for row in rows:
        for part in [getattr(row, column.name) for column in fields(row)] if is_dataclass(row) else [row]:
            digest.update(repr(part).encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
    return digest.hexdigest()


def flat(config: Any, key: str = "") -> dict[str, Any]:
    """Every value under its dotted key; empty sections and lists are values."""
    return dict(_leaves(config, key))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list) or not value:
        yield key, value
        return
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(part, f"{key}.{name}" if key else str(name))
