"""A config with a judge, for tests of its settings. They write CONFIG to `judged.yaml` in the current folder."""

from __future__ import annotations

import pytest

from rlsys.check.load import load
from rlsys.errors import ConfigError

CONFIG = """\
name: judged
method: {name: grpo}
model: {path: "playground:0.5m"}
data:
  train: {path: "playground:sort_digits"}
judge: {model: "playground:0.5m", reward: {}}
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""
ENDPOINT = ("judge.backend=openai", "judge.model=m", "judge.endpoint={base_url: 'http://localhost:1/v1'}")
REVISE = ("method={name: constitutional}", "rewards=[{name: exact_match}]", "judge.reward=null")
PAIRS = ("method={name: rlaif}", "judge.reward=null")


def message(*overrides: str) -> str:
    """What is said of the config."""
    with pytest.raises(ConfigError) as error:
        load("judged.yaml", overrides)
    return str(error.value)
