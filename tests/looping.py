"""The loop over fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from fakes import SoftmaxPolicy, make_roles, prompt

from rlsys import algorithm as algorithms
from rlsys.algorithm import Experience
from rlsys.algorithms.grpo import Algorithm, Config
from rlsys.checkpoint import Checkpoints
from rlsys.config.actors import ModelConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.config.models import DataConfig, EvaluationConfig, Experiment, LoopConfig, SamplingConfig
from rlsys.data.stream import Stream
from rlsys.dataset import Dataset
from rlsys.evaluation import AnswerEvaluator, Evaluator, Judgement
from rlsys.ledger import Ledger
from rlsys.loop import Loop
from rlsys.metrics import MetricsLog
from rlsys.progress import Progress
from rlsys.roles import Roles
from rlsys.run_dir import RunDir

SAMPLING = SamplingConfig(max_tokens=4)
GRPO = Config(name="grpo", prompts_per_step=4, group_size=4)


@contextmanager
def looping(
    run_dir: RunDir, algorithm: algorithms.Algorithm, roles: Roles, rows: Sequence[Any], evaluator: Evaluator, **loop: Any
) -> Iterator[Loop]:
    """A loop in `run_dir`; `loop`: its settings."""
    data, config = DataConfig(train=DatasetConfig(path="none")), LoopConfig(**loop)
    experiment = Experiment(name="test", seed=3, model=ModelConfig(path="none"), data=data, loop=config)
    with ExitStack() as stack:
        yield Loop(
            experiment,
            algorithm,
            roles,
            Stream(rows, experiment.seed, True),
            evaluator,
            run_dir,
            stack.enter_context(Ledger(run_dir.ledger)),
            stack.enter_context(MetricsLog(run_dir, experiment.logging)),
            Checkpoints(run_dir.checkpoints, config.keep_last),
            stack.enter_context(Progress(config.steps, "off", title="test")),
            Dataset(run_dir.dataset),
        )


@contextmanager
def running(run_dir: RunDir, steps: int, roles: Roles | None = None, evaluator: Evaluator | None = None, **loop: Any) -> Iterator[Loop]:
    """GRPO on ten prompts whose answer is 2."""
    rows = [prompt(f"p{i}", "2") for i in range(10)]
    answers = AnswerEvaluator(tuple(rows), EvaluationConfig(samples=4), SAMPLING, Judgement("answered", 1.0), 0)
    roles = roles or make_roles(learning_rate=0.5)
    with looping(run_dir, Algorithm(GRPO, SAMPLING, 0), roles, rows, evaluator or answers, steps=steps, **loop) as made:
        yield made


def run_killed_in(loop: Loop, number: int) -> None:
    """Runs until it collects for step `number`, where it is killed."""
    collect = loop.algorithm.collect

    def dies(roles: Any, source: Any, step: Any) -> Experience:
        if step.number == number:
            raise KeyboardInterrupt
        return collect(roles, source, step)

    object.__setattr__(loop.algorithm, "collect", dies)
    with pytest.raises(KeyboardInterrupt):
        loop.run()


def logits(loop: Loop) -> list[float]:
    assert isinstance(loop.roles.policy, SoftmaxPolicy)
    return loop.roles.policy.logits.tolist()
