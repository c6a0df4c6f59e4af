"""What a run asks of whoever starts its roles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rlsys.config.judge import JudgeConfig
from rlsys.config.models import ClusterConfig, Experiment
from rlsys.roles import Judge, Roles


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What the roles of a run must be able to do."""

    needs: frozenset[str]
    """Roles to start."""
    model: Path
    """Local folder or hub id of the policy's starting weights."""
    optimizer_steps: int
    """Over the whole run, for the learning-rate schedule."""
    pad_id: int
    """Of the policy's tokenizer."""
    heads: int = 1
    """Of a reward model in training."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a sample, beside those that the policy's tokenizer and generation config name."""


Spawn = Callable[[Experiment, SpawnRequest], AbstractContextManager[Roles]]
"""Starts the roles; closing the context stops them. `actors.spawn.spawn` is the one for Ray."""

SpawnJudge = Callable[[JudgeConfig, ClusterConfig, Path, int, float], AbstractContextManager[Judge]]
"""Starts a judge alone, of some settings, on a cluster, with its cache and made models in a folder, with a seed, and with a
limit in seconds for the answers to what it is asked at once.
`actors.spawn_judge.spawn_judge` is the one for Ray."""
