"""The config of `rlsys judge-eval`: a judge alone, measured on labelled comparisons."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat

from rlsys.config.base import Model
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import ClusterConfig
from rlsys.config.judge import JudgeConfig


class JudgeEval(Model):
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the folder that the results go to."""
    seed: int = 0
    """Everything random is derived from it."""
    output: Path = Path("runs")
    """Folder in which that folder is made."""
    judge: JudgeConfig
    """The judge, as in an experiment."""
    data: DatasetConfig
    """Labelled comparisons: columns as for a reward model."""
    attacks: NonNegativeInt = 0
    """How many prompt injections are tried, each on the worse answer of a comparison that the judge gets right; 0 tries
    none."""
    timeout: PositiveFloat = 1800.0
    """Longest wait (seconds) for the judge to answer the questions of 256 comparisons; an endpoint's own limits and
    outages come on top."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""


class JudgeFile(Model):
    """A judge for a command that asks it something, as `rlsys redteam --judge FILE`."""

    seed: int = 0
    """Everything random is derived from it."""
    judge: JudgeConfig
    """The judge, as in an experiment."""
    timeout: PositiveFloat = 1800.0
    """Longest wait (seconds) for the judge to answer all that is asked at once."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
