"""The loop over fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from rlsys.config.actors import ModelConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import DataConfig, EvaluationConfig, Experiment, LoopConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.data.stream import Stream
from rlsys.methods import base as algorithms
from rlsys.methods.base import Experience
from rlsys.methods.grpo import Config, Method
from rlsys.roles import Roles
from rlsys.run.checkpoint import Checkpoints
from rlsys.run.evaluation import AnswerEvaluator, Evaluator, Judgement
from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.run.loop import Loop
from rlsys.run.made_dataset import MadeDataset
from rlsys.run.metrics import MetricsLog
from rlsys.run.progress import Progress
from support.fakes import SoftmaxPolicy, make_roles, prompt

SAMPLING = SamplingConfig(max_tokens=4)
GRPO = Config(name="grpo", prompts_per_step=4, group_size=4)


@contextmanager
def looping(
    run_dir: RunDir,
    algorithm: algorithms.Method,
    roles: Roles,
    rows: Sequence[Any],
    evaluator: Evaluator,
    **loop: Any,
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
            MadeDataset(run_dir.dataset),
        )


@contextmanager
def running(
    run_dir: RunDir, steps: int, roles: Roles | None = None, evaluator: Evaluator | None = None, **loop: Any
) -> Iterator[Loop]:
    """GRPO on ten prompts whose answer is 2."""
    rows = [prompt(f"p{i}", "2") for i in range(10)]
    answers = AnswerEvaluator(tuple(rows), EvaluationConfig(samples=4), SAMPLING, Judgement("answered", 1.0), 0)
    roles = roles or make_roles(learning_rate=0.5)
    with looping(run_dir, Method(GRPO, SAMPLING, 0), roles, rows, evaluator or answers, steps=steps, **loop) as made:
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
