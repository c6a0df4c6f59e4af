"""The examples do what the methods do that they are readings of: on equal fakes, with equal seeds, the same weights."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fakes import (
    VOCABULARY,
    ConstantCritic,
    CopySync,
    FakeJudge,
    FrozenSoftmax,
    FunctionReward,
    SoftmaxPolicy,
    SoftmaxRollout,
    prompt,
)
from support.scripted_sampler import TOKENIZER, Scripted, asked, length
from torch import Tensor

from examples import constitutional, grpo, ppo
from rlsys.batch import Batch
from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import Sampling, SamplingConfig
from rlsys.data.load import Demonstration, load_demonstrations
from rlsys.data.stream import Stream
from rlsys.judging.asking.questions import Single
from rlsys.methods import constitutional as of_constitutional
from rlsys.methods import grpo as of_grpo
from rlsys.methods import ppo as of_ppo
from rlsys.methods import sft as of_sft
from rlsys.methods.base import Method, Step
from rlsys.objectives.outputs import ValueOutputs
from rlsys.objectives.stats import Stats
from rlsys.roles import Roles
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, Trajectory

SAMPLING = SamplingConfig(max_tokens=4, temperature=0.7)
SEED, STEPS, GROUP = 5, 3, 4
LOGITS = torch.tensor([0.3, -0.2, 0.5, 0.0])


class OtherRollout(SoftmaxRollout):
    """Answers of 1 to 4 tokens, whose log-probs are not quite the policy's."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        for group in super().generate(prompts, sampling, tag):
            yield Group(group.prompt, tuple(map(self.cut, group.trajectories)))

    def cut(self, sample: Trajectory) -> Trajectory:
        chance = random.Random(sample.sample_id)
        kept = 1 + chance.randint(1, self.length)
        off = [0.0, *(value + chance.uniform(-1.5, 0.2) for value in sample.log_probs[1:kept])]
        lists = {name: getattr(sample, name)[:kept] for name in ("token_ids", "loss_mask", "policy_versions")}
        return replace(sample, **lists, log_probs=off, text=" ".join(map(str, sample.token_ids[1:kept])))


class TableCritic(ConstantCritic):
    """A state is worth a learned number of its last token. Plain SGD."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate)
        self.value = torch.linspace(-0.5, 0.5, VOCABULARY, requires_grad=True)

    def outputs(self, batch: Batch) -> ValueOutputs:
        return ValueOutputs(self.value[batch.token_ids_BT][..., None])

    def values(self, batch: Batch) -> Tensor:
        return self.outputs(batch).values_BT.detach() * batch.loss_mask_BT

    def forward_backward(self, batch: Any, loss: Any) -> Stats:
        total, stats = loss(self.outputs(batch), batch)
        (total / loss.normalizer(batch)).backward()
        return stats


def of_tokens(prompt: Prompt, sample: Trajectory) -> RewardResult:
    """Scores that differ, and now and then none; of one prompt only the first sample has any."""
    if sample.text.startswith("3 3") or (prompt.prompt_id == "p3" and sample.sample_index):
        return Abstention("down")
    return Score(sum(map(int, sample.text.split())) / 3)


def models() -> Roles:
    policy, rollout = SoftmaxPolicy(learning_rate=0.5), OtherRollout(length=4)
    policy.logits = LOGITS.double().requires_grad_()
    return Roles(
        policy=policy,
        critic=TableCritic(learning_rate=0.5),
        reference=FrozenSoftmax(torch.tensor([0.0, 0.4, 0.1, -0.3])),
        rollout=rollout,
        reward=FunctionReward(of_tokens),
        weight_sync=CopySync(policy, rollout),
    )


def trained(one_step: Callable[[Roles, Stream[Prompt], int], object], roles: Roles) -> Roles:
    """After some steps."""
    stream = Stream([prompt(f"p{number}") for number in range(12)], SEED, shuffle=True)
    assert roles.weight_sync is not None
    for number in range(1, STEPS + 1):
        roles.weight_sync.sync(number - 1)
        one_step(roles, stream, number)
    return roles


def by_method(method: Method, roles: Roles) -> Roles:
    def one_step(roles: Roles, stream: Stream[Prompt], number: int) -> None:
        step = Step(number, number - 1, SEED)
        method.learn(roles, method.collect(roles, stream, step), step)

    return trained(one_step, roles)


def check_logits(roles: Roles, expected: Roles) -> None:
    """They are those expected, and not those at first."""
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert isinstance(expected.policy, SoftmaxPolicy)
    assert roles.policy.logits.tolist() == pytest.approx(expected.policy.logits.tolist(), abs=1e-6)
    assert (roles.policy.logits - LOGITS).abs().max() > 0.01


def test_grpo():
    def one_step(roles: Roles, stream: Stream[Prompt], number: int) -> None:
        grpo.step(roles, stream.take(8), SAMPLING.sampling(GROUP), 0, number)

    config = of_grpo.Config.model_validate({"prompts_per_step": 8, "group_size": GROUP})
    alone = replace(models(), critic=None, reference=None)
    expected = by_method(of_grpo.Method(config, SAMPLING, 0), alone)
    check_logits(trained(one_step, models()), expected)


@pytest.mark.parametrize(("epochs", "mini_batches"), [(4, 1), (2, 3)])
def test_ppo(monkeypatch: pytest.MonkeyPatch, epochs: int, mini_batches: int):
    def one_step(roles: Roles, stream: Stream[Prompt], number: int) -> None:
        ppo.step(roles, stream.take(8), SAMPLING.sampling(1), 0, number, SEED)

    config = of_ppo.Config.model_validate({"prompts_per_step": 8, "mini_batches": mini_batches, "epochs": epochs})
    expected = by_method(of_ppo.Method(config, SAMPLING, 0), models())
    monkeypatch.setattr(ppo, "EPOCHS", epochs)
    monkeypatch.setattr(ppo, "MINI_BATCHES", mini_batches)
    found = trained(one_step, models())
    check_logits(found, expected)
    assert isinstance(found.critic, TableCritic)
    assert isinstance(expected.critic, TableCritic)
    assert found.critic.value.tolist() == pytest.approx(expected.critic.value.tolist(), abs=1e-6)
    assert (found.critic.value - TableCritic(0.5).value).abs().max() > 0.01


def test_the_numbers_of_ppo_are_the_method_s_defaults():
    config = of_ppo.Config(name="ppo")
    chosen = (config.epochs, config.mini_batches, config.kl_coef, config.gamma, config.gae_lambda)
    assert chosen == (ppo.EPOCHS, ppo.MINI_BATCHES, ppo.KL_COEF, ppo.GAMMA, ppo.LAMBDA)


def takes_one_away(kind: str, single: Single) -> str | None:
    """Removes one x; has nothing to say of answers that begin with c, can't revise those with r, and writes nothing for
    those with e."""
    text = single.answer.text
    if kind == "critique":
        return None if text.startswith("c") else f"{single.principle} on {single.answer.sample_id}"
    return None if text.startswith("r") else " " if text.startswith("e") else text.replace("x", "", 1) or "done"


def test_constitutional_revises(tmp_path: Path):
    prompts, answers = asked(tmp_path, 6), (("axxx",), ("cx",), ("rx",), ("ex",), ("x",), ("bxx",))
    sampling, step = SamplingConfig(max_tokens=16), Step(1, 0, SEED)
    roles = Roles(rollout=Scripted(*answers), reward=FunctionReward(length), judge=FakeJudge(write=takes_one_away))
    config = of_constitutional.Config(prompts_per_step=6, rounds=3)
    expected = of_constitutional.Method(config, sampling, 0).collect(roles, Stream(prompts, 0, shuffle=False), step)
    rows = constitutional.revisions(roles, prompts, sampling.sampling(1), "train-1", 3, SEED)
    assert len(rows) == 9
    assert rows == list(expected.rows)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DatasetConfig(path=str(tmp_path / "rows.jsonl"))
    assert len(load_demonstrations(data, TOKENIZER, 100, strict=True, quarantine=None).rows) == 9


def test_constitutional_imitates():
    rows = [
        Demonstration("a", (0, 1, 2), (0, 0, 1)),
        Demonstration("b", (0, 3, 2, 1), (0, 0, 1, 1)),
        Demonstration("c", (0, 3), (0, 1)),
    ]
    roles, expected = models(), models()
    found, wanted = (Stream(rows, SEED, shuffle=True) for _ in range(2))
    method = of_sft.Method(of_sft.Config(batch_size=2), SamplingConfig(), 0)
    for number in range(1, STEPS + 1):
        constitutional.imitate(roles, found, 0, count=2)
        step = Step(number, 0, SEED)
        method.learn(expected, method.collect(expected, wanted, step), step)
    check_logits(roles, expected)
