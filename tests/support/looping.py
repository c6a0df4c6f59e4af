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
from rlsys.methods import grpo
from rlsys.methods.base import Experience, Method
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
GRPO = grpo.Config(name="grpo", prompts_per_step=4, group_size=4)


@contextmanager
def looping(
    run_dir: RunDir,
    method: Method,
    roles: Roles,
    rows: Sequence[Any],
    evaluator: Evaluator,
    steps: int,
    **loop: Any,
) -> Iterator[Loop]:
    """A loop in `run_dir`; `loop`: its settings."""
    data, config = DataConfig(train=DatasetConfig(path="none")), LoopConfig(steps=steps, **loop)
    model, own = ModelConfig(path="none"), method.config
    experiment = Experiment(name="test", seed=3, model=model, data=data, method=own, loop=config)
    with ExitStack() as stack:
        yield Loop(
            experiment,
            method,
            roles,
            Stream(rows, experiment.seed, True),
            evaluator,
            run_dir,
            stack.enter_context(Ledger(run_dir.ledger)),
            stack.enter_context(MetricsLog(run_dir, experiment.logging)),
            Checkpoints(run_dir.checkpoints, config.keep_last),
            stack.enter_context(Progress(steps, "off", title="test")),
            MadeDataset(run_dir.dataset),
        )


@contextmanager
def running(
    run_dir: RunDir,
    steps: int,
    roles: Roles | None = None,
    evaluator: Evaluator | None = None,
    method: Method | None = None,
    **loop: Any,
) -> Iterator[Loop]:
    """GRPO, if no other method is given, on ten prompts whose answer is 2."""
    rows = [prompt(f"p{i}", "2") for i in range(10)]
    answers = AnswerEvaluator(tuple(rows), EvaluationConfig(samples=4), SAMPLING, Judgement("answered", 1.0), 0)
    roles, method = roles or make_roles(learning_rate=0.5), method or grpo.Method(GRPO, SAMPLING, 0)
    with looping(run_dir, method, roles, rows, evaluator or answers, steps, **loop) as made:
        yield made


def run_killed_in(loop: Loop, number: int) -> None:
    """Runs until it collects for step `number`, where it is killed."""
    collect = loop.method.collect

    def dies(roles: Any, source: Any, step: Any) -> Experience:
        if step.number == number:
            raise KeyboardInterrupt
        return collect(roles, source, step)

    object.__setattr__(loop.method, "collect", dies)
    with pytest.raises(KeyboardInterrupt):
        loop.run()


def logits(loop: Loop) -> list[float]:
    assert isinstance(loop.roles.policy, SoftmaxPolicy)
    return loop.roles.policy.logits.tolist()
