"""The table of preference losses: what is computed of models. The command as a whole is in test_smoke.py."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.preference.__main__ import FULL, LOSSES, ONLINE, Demo, pairs_of
from benchmarks.preference.outcome import Answers, answers_of, outcome
from rlsys.config.dataset import DatasetConfig
from rlsys.data.load import load_comparisons
from rlsys.models.load import load_tokenizer
from rlsys.objectives.preference_loss import PreferenceKind
from rlsys.playground.models import build
from rlsys.run.folder import RunDir

DATA = DatasetConfig(path="playground:letters_preferences", split="test", limit=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("model") / "0.5m")


def test_every_loss_is_run_once_from_the_same_model(tmp_path: Path, model: Path):
    demo = Demo(tmp_path, seed=1, steps=7, size=FULL)
    for split in FULL.pair_steps:
        RunDir.create(tmp_path, pairs_of(split)).dataset.write_text("")
    online = demo.online(model)
    made = {**{name: demo.offline(model, name) for name in LOSSES}, ONLINE: online}
    assert set(made) == {*get_args(PreferenceKind), "kto", ONLINE}
    assert {experiment.model.path for experiment in made.values()} == {str(model)}
    assert {(experiment.seed, experiment.loop.steps, experiment.output) for experiment in made.values()} == {
        (1, 7, tmp_path)
    }
    assert {name: experiment.method.name for name, experiment in made.items()} == {name: name for name in made}
    samplers = [demo.sampling(model, split) for split in FULL.pair_steps]
    assert [sampler.data.train.split for sampler in samplers if sampler.data.train] == ["train", "test"]
    roles = online.method.facts.needs
    assert all(experiment.method.facts.needs <= roles for experiment in (*made.values(), *samplers))
    assert len({experiment.policy.model_dump_json() for experiment in made.values()}) == 1, (
        "they share actors, so also the settings"
    )
    assert all(
        (experiment.rewards, experiment.sampling) == (online.rewards, online.sampling) for experiment in samplers
    )


def test_log_probs_are_those_of_each_answer_alone(model: Path):
    held_out = load_comparisons(DATA, load_tokenizer(model), 32, True, None).rows
    found = answers_of(model, held_out, ["abc", "xyz"], samples=3, seed=0)
    network, wanted = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), []
    for answer in (answer for row in held_out for answer in row.answers):
        tokens, trained = torch.tensor(answer.token_ids), torch.tensor(answer.loss_mask, dtype=torch.bool)
        with torch.no_grad():
            scores = network(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        wanted.append(float(scores[trained[1:]].sum()))
    assert found.log_probs_B.tolist() == pytest.approx(wanted, rel=1e-5)
    assert found.tokens_B.tolist() == [sum(answer.loss_mask) for row in held_out for answer in row.answers]
    assert {letters: len(values) for letters, values in found.gold.items()} == {"abc": 3, "xyz": 3}


def test_outcomes_by_hand(model: Path):
    """Of three pairs, the better answer comes first in each row."""
    held_out = load_comparisons(DATA, load_tokenizer(model), 32, True, None).rows
    assert all(row.grades[0] > row.grades[1] for row in held_out)
    tokens = torch.tensor([2.0, 1.0, 1.0, 1.0, 4.0, 2.0])
    start = Answers(torch.full((6,), -3.0), tokens, {"abc": [1.0, 2.0], "xyz": [0.0, 0.0]})
    # By token -1 over -1.5, -2 under -1, -1 over -2; gained 1 over 1.5, 1 under 2, -1 over -1.
    after = Answers(torch.tensor([-2.0, -1.5, -2.0, -1.0, -4.0, -4.0]), tokens, {"abc": [2.0, 3.0], "xyz": [1.0, -1.0]})
    found = outcome(after, start, held_out)
    assert found.likelier == pytest.approx(2 / 3)
    assert found.preferred == pytest.approx((0 + 0 + 0.5) / 3)
    assert found.gold == pytest.approx(5 / 4)
    assert found.win_rate == pytest.approx((1 + 0.5) / 2)
    same = outcome(start, start, held_out)
    assert (same.preferred, same.win_rate) == (0.5, 0.5)
