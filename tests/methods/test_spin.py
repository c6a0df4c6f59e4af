"""SPIN's loop over fakes: what it trains on, when it ends, what a resumed run mixes in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import SoftmaxPolicy, make_roles, prompt, trajectory
from support.looping import SAMPLING, looping
from torch import Tensor

from rlsys.config.sampling import Sampling
from rlsys.data.answered import Answered
from rlsys.data.load import Demonstration
from rlsys.data.stream import Stream
from rlsys.errors import DataError
from rlsys.methods.base import Measures, Step
from rlsys.methods.spin import Config, Method
from rlsys.roles import Roles
from rlsys.run.evaluation import RowEvaluator
from rlsys.run.folder import RunDir
from rlsys.run.loop import Loop
from rlsys.run.metrics import MetricsLog
from rlsys.samples import Group, Prompt

STEP = Step(1, 0, seed=0)


def answered_rows(tokens: Sequence[int]) -> list[Answered]:
    """Prompts p0, p1, ... with answers of one token."""
    return [Answered(prompt(f"p{i}"), Demonstration(f"p{i}", (0, token), (0, 1))) for i, token in enumerate(tokens)]


def drawn(count: int) -> list[int]:
    """Token i with probability (i + 1) / 10."""
    weights = torch.arange(1.0, 5.0, dtype=torch.float64)
    return torch.multinomial(weights, count, replacement=True, generator=torch.Generator().manual_seed(0)).tolist()


def spin(**config: Any) -> Method:
    """One update an iteration, on all rows, unless told otherwise."""
    plain = {"epochs": 1, "mini_batches": 1, "held_out_share": 0.0, "stop_margin": None, "scored": False}
    return Method(Config.model_validate({**plain, **config}), SAMPLING, 0)


def unscored_roles(rate: float) -> tuple[Roles, SoftmaxPolicy]:
    roles = replace(make_roles(learning_rate=rate), reward=None)
    assert isinstance(roles.policy, SoftmaxPolicy)
    return roles, roles.policy


@contextmanager
def running(
    run_dir: RunDir, method: Method, rows: list[Answered], steps: int, rate: float = 1.0
) -> Iterator[tuple[Loop, SoftmaxPolicy]]:
    roles, policy = unscored_roles(rate)
    evaluator, every = RowEvaluator(tuple(rows), method), {"eval_every": 1, "checkpoint_every": 1, "keep_last": 9}
    with looping(run_dir, method, roles, rows, evaluator, steps=steps, **every) as loop:
        yield loop, policy


def push(loop: Loop, rows: list[Answered], steps: Sequence[int]) -> Tensor:
    """Mean over the pairs of some steps of onehot(data's token) - onehot(sample's token), from the ledger; equal pairs
    are none."""
    real = {row.row_id: row.demonstration.token_ids[1] for row in rows}
    found = []
    for step in steps:
        for sample in loop.ledger.samples(step, "train"):
            if (generated := sample.token_ids[1]) != real[sample.prompt_id]:
                assert sample.used_in_step == step
                found.append(
                    torch.eye(4, dtype=torch.float64)[real[sample.prompt_id]]
                    - torch.eye(4, dtype=torch.float64)[generated]
                )
            else:
                assert sample.used_in_step is None
    return torch.stack(found).mean(0)


def test_two_iterations_by_hand(tmp_path: Path):
    """Where the policy is its opponent the loss is ln 2, and its gradient in the logits is -lambda / 2 times the mean
    of `push`, whichever opponent a sample was drawn from: the step is that, times the iteration's learning rate. The
    second iteration has the first one's pairs too."""
    rows = answered_rows(drawn(40))
    method = spin(prompts_per_step=20, lambdas=[2.0, 0.5], learning_rates=[1.0, 3.0])
    with running(RunDir.create(tmp_path, "a"), method, rows, steps=3) as (loop, policy):
        expected, metrics = torch.zeros(4, dtype=torch.float64), {}
        for number, (strength, rate, steps) in enumerate(
            [(2.0, 1.0, [1]), (0.5, 3.0, [1, 2]), (0.5, 3.0, [2, 3])], start=1
        ):
            loop.sync()
            metrics = loop.one_step()
            expected = expected + rate * strength / 2 * push(loop, rows, steps)
            assert policy.logits.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
            told = {name: metrics[f"train/{name}"] for name in ("loss", "margin", "accuracy", "lambda")}
            assert told == pytest.approx(
                {"loss": math.log(2), "margin": 0.0, "accuracy": 0.5, "lambda": strength}, abs=1e-6
            ), number
            assert metrics["dataset/pairs"] + metrics["dataset/equal"] == 20
        pairs = [
            sum(sample.used_in_step is not None for sample in loop.ledger.samples(step, "train")) for step in (2, 3)
        ]
        assert metrics["train/pairs"] == sum(pairs)


def test_without_mixing_an_iteration_has_its_own_pairs_only(tmp_path: Path):
    rows = answered_rows(drawn(20))
    with running(RunDir.create(tmp_path, "a"), spin(prompts_per_step=10, mix_previous=False), rows, steps=2) as (
        loop,
        _,
    ):
        loop.sync()
        assert all((metrics := loop.one_step())["train/pairs"] == metrics["dataset/pairs"] for _ in range(2))


def test_a_resumed_run_mixes_in_what_the_run_would_have(tmp_path: Path):
    rows, method = answered_rows(drawn(60)), spin(prompts_per_step=50, epochs=3, mini_batches=4, held_out_share=0.2)
    timeless = ("time/", "rollout/tokens_per_second")

    def told(run_dir: RunDir) -> list[dict[str, Any]]:
        lines = MetricsLog.read(run_dir.metrics)
        return [
            {name: value for name, value in line.items() if name != "time" and not name.startswith(timeless)}
            for line in lines
        ]

    straight, broken = RunDir.create(tmp_path, "straight"), RunDir.create(tmp_path, "broken")
    with running(straight, method, rows, steps=4) as (loop, policy):
        loop.run()
    with running(broken, method, rows, steps=2) as (loop, _):
        loop.run()
    with running(broken, method, rows, steps=4) as (loop, other):
        loop.restore(loop.checkpoints.latest())
        loop.run()
    assert other.weight_hash() == policy.weight_hash()
    assert told(broken) == told(straight)


def test_held_out_rows_never_train(tmp_path: Path):
    """Every iteration takes all rows, so that a row held out of one would come back in the next if its place
    decided."""
    rows = answered_rows(drawn(50))
    with running(RunDir.create(tmp_path, "a"), spin(prompts_per_step=50, held_out_share=0.3), rows, steps=4) as (
        loop,
        _,
    ):
        loop.run()
        samples = [sample for step in range(1, 5) for sample in loop.ledger.samples(step, "train")]
        lines = MetricsLog.read(loop.run_dir.metrics)[1:]
    real = {row.row_id: row.demonstration.token_ids[1] for row in rows}
    trained = {sample.prompt_id for sample in samples if sample.used_in_step is not None}
    idle = {
        sample.prompt_id
        for sample in samples
        if sample.used_in_step is None and sample.token_ids[1] != real[sample.prompt_id]
    }
    assert not trained & idle
    assert 5 <= len(idle) <= 25
    for line in lines:
        assert line["dataset/pairs"] + line["dataset/held_out"] + line["dataset/equal"] == 50


def test_the_distance_to_the_data_falls_and_the_loss_tends_to_ln_2(tmp_path: Path):
    """lambda 2 from a uniform policy, by the closed form: KL(data || p) of 0.1064, then about a quarter each time."""
    rows = answered_rows(drawn(600))
    method = spin(prompts_per_step=600, lambdas=[2.0], epochs=40, mix_previous=False, held_out_share=0.25)
    with running(RunDir.create(tmp_path, "a"), method, rows, steps=3, rate=2.0) as (loop, _):
        loop.run()
        lines = MetricsLog.read(loop.run_dir.metrics)
    frequencies = (
        torch.tensor([[row.demonstration.token_ids[1] == token for token in range(4)] for row in rows]).double().mean(0)
    )
    entropy = -float((frequencies * frequencies.log()).sum())
    distances = [line["eval/answer_nll"] - entropy for line in lines]
    assert distances[0] == pytest.approx(math.log(4) - entropy, abs=1e-6)
    assert distances[1] == pytest.approx(distances[0] / 4, abs=0.012)
    assert distances[2] < distances[1] / 2
    losses = [line["train/held_out_loss"] for line in lines[1:]]
    assert losses[0] < losses[1] - 0.01
    assert losses[-1] == pytest.approx(math.log(2), abs=0.01)


def test_the_run_ends_where_nothing_was_learned(tmp_path: Path):
    """At a learning rate of 0 the policy stays its opponent: all margins are 0, which no more than chance tells
    apart."""
    rows = answered_rows(drawn(30))
    for stops, told in (
        ({"stop_margin": 0.0}, "margin 0 on"),
        ({"stop_margin": None, "stop_accuracy": 0.5}, "accuracy 0.5 on"),
    ):
        run_dir = RunDir.create(tmp_path, told.split()[0])
        with running(run_dir, spin(prompts_per_step=20, held_out_share=0.4, **stops), rows, steps=5, rate=0.0) as (
            loop,
            _,
        ):
            state = loop.run()
        assert state.step == 1
        assert state.done is not None
        assert state.done.startswith(f"iteration 1: the opponent's samples are no longer told from the data: {told}")
    with running(
        RunDir.create(tmp_path, "on"), spin(prompts_per_step=20, held_out_share=0.4), rows, steps=3, rate=0.0
    ) as (loop, _):
        assert (loop.run().step, loop.state.done) == (3, None)


def test_a_stop_rule_without_a_held_out_row_is_refused_before_anything_is_sampled():
    """Of three rows none is held out at a share of a millionth; without a stop rule that is no matter."""
    roles, _ = unscored_roles(1.0)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    source = Stream(answered_rows([1, 3, 2]), 0, False)
    with pytest.raises(
        DataError, match=r"iteration 1: none of its 3 rows is held out, so method\.stop_accuracy can't be measured"
    ):
        spin(prompts_per_step=3, held_out_share=1e-6, stop_accuracy=0.5).collect(
            replace(roles, rollout=None), source, STEP
        )
    assert spin(prompts_per_step=3, held_out_share=1e-6).collect(roles, source, STEP).held_out == ()


def test_samples_that_are_the_data_are_counted_and_end_the_run(tmp_path: Path):
    rows = answered_rows([2] * 10)
    with running(RunDir.create(tmp_path, "a"), spin(prompts_per_step=10), rows, steps=3) as (loop, policy):
        policy.logits = torch.tensor([-50.0, -50.0, 50.0, -50.0], dtype=torch.float64, requires_grad=True)
        state = loop.run()
        assert (state.step, state.counts) == (
            1,
            {"dataset/pairs": 0, "dataset/held_out": 0, "dataset/equal": 10, "dataset/empty": 0},
        )
        assert state.done == "iteration 1: each sample of the opponent is the data's own answer"
        assert policy.updates == 0


def test_an_empty_sample_is_a_pair_and_is_counted():
    """The fake's text is its tokens; one that only ends has none."""
    method, (roles, _) = spin(prompts_per_step=3), unscored_roles(1.0)

    class Silent:
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
            for asked in prompts:
                yield Group(asked, (replace(trajectory(asked.prompt_id, 0, [3], [-1.0]), text=""),))

    found = method.collect(replace(roles, rollout=Silent()), Stream(answered_rows([1, 3, 2]), 0, False), STEP)
    counts = {name: count for name, count in found.metrics.items() if name.startswith("dataset/")}
    assert counts == {"dataset/pairs": 2, "dataset/held_out": 0, "dataset/equal": 1, "dataset/empty": 3}


def test_held_out_answers_are_measured_by_token_and_by_answer():
    """Of 1 and 2 tokens under p = (0.4, 0.3, 0.2, 0.1): answers of log-probs log 0.1 and log 0.4 + log 0.3."""
    roles, policy = unscored_roles(1.0)
    policy.logits = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log().requires_grad_()
    rows = [
        Answered(prompt("a"), Demonstration("a", (0, 3), (0, 1))),
        Answered(prompt("b"), Demonstration("b", (0, 0, 1), (0, 1, 1))),
    ]
    measured = spin().measure(roles, rows)
    total = -math.log(0.1 * 0.4 * 0.3)
    assert measured.metrics == pytest.approx({"nll": total / 3, "answer_nll": total / 2}, abs=1e-6)
    assert measured.score == -measured.metrics["answer_nll"]


def test_what_it_asks_for():
    assert Config(prompts_per_step=7).facts.rows_per_step == 7
    assert Config(epochs=3, mini_batches=5).facts.updates_per_step == 15
    assert Config(scored=False).facts.needs == {"policy", "rollout"}
    assert Config(scored=True).facts.needs == {"policy", "rollout", "reward"}
    assert isinstance(spin(), Measures)
    assert (Config().facts.measures, Config().facts.samples_per_prompt) == (True, 1)
    with pytest.raises(ValidationError, match="stop_margin is measured on held-out rows, and held_out_share is 0"):
        Config(held_out_share=0.0)


def test_scored_samples_have_rewards():
    roles = make_roles(learning_rate=1.0)
    assert roles.weight_sync is not None
    roles.weight_sync.sync(0)
    found = spin(prompts_per_step=20, scored=True).collect(roles, Stream(answered_rows(drawn(20)), 0, True), STEP)
    right = sum(group.trajectories[0].text == "0" for group in found.groups)
    assert found.metrics["reward/mean"] == right / 20
