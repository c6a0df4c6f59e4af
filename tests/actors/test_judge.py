"""A judge over real engines: its log-probs are the model's, its texts obey a schema, and it says what it can't
answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.spawn_judge import spawn_judge
from rlsys.config.actors import RolloutConfig
from rlsys.config.experiment import ClusterConfig
from rlsys.config.judge import CriterionConfig, JudgeConfig
from rlsys.judging.asking.judge import ModelJudge
from rlsys.judging.asking.questions import Answer, Pair, Single
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.models.load import load_tokenizer
from rlsys.samples import Abstention, Score

pytestmark = pytest.mark.engine
NUMBERS = tuple(str(number) for number in range(1, 11))
CHATS = [({"role": "user", "content": text},) for text in ("Hello", "Which is better?", "1 or 10")]


@pytest.fixture(scope="module")
def judge(ray_session: None, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelJudge]:
    criteria = (CriterionConfig(name="clear", description="Clear?"), CriterionConfig(name="kind", description="Kind?"))
    config = JudgeConfig(
        model=str(model_path),
        engine=RolloutConfig(engines=2),
        criteria=criteria,
        min_label_mass=0.0,
        max_score=5,
        max_tokens=64,
    )
    with spawn_judge(config, ClusterConfig(), tmp_path_factory.mktemp("judge"), seed=0, timeout=300.0) as judge:
        yield judge


def next_log_probs(model_path: Path, chat: tuple[dict[str, str], ...], then: str = "") -> torch.Tensor:
    tokenizer, model = load_tokenizer(model_path), AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    text = str(tokenizer.apply_chat_template([*chat], tokenize=False, add_generation_prompt=True))
    ids = tokenizer(text + then, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits[0, -1], -1)


def test_log_probs_of_labels_are_the_models_own(judge: ModelJudge, model_path: Path):
    """A byte is a token here, so "10" is "1" and then "0"; and what begins "10" is no "1"."""
    replies = judge.backend.ask([Request(chat, labels=("A", "B", *NUMBERS)) for chat in CHATS])
    for chat, reply in zip(CHATS, replies, strict=True):
        assert isinstance(reply, Reply)
        first, second = next_log_probs(model_path, chat), next_log_probs(model_path, chat, "1")
        wanted = {label: first[ord(label)].item() for label in ("A", "B", *NUMBERS[1:9])}
        ten = first[ord("1")].item() + second[ord("0")].item()
        wanted |= {"10": ten, "1": math.log(first[ord("1")].exp().item() - math.exp(ten))}
        assert reply.label_log_probs == pytest.approx(wanted, abs=1e-4)


def test_a_comparison_is_a_number_and_the_same_number_from_the_cache(judge: ModelJudge):
    pair = Pair("q", "Hello?", Answer("a", "good"), Answer("b", "bad"))
    (first,), (again,) = judge.compare([pair]), judge.compare([pair])
    assert isinstance(first.result, Score)
    assert first.result == again.result
    assert [verdict.cached for verdict in (*first.verdicts, *again.verdicts)] == [False, False, True, True]
    assert 0 < first.result.value < 1
    assert "@" in judge.identity


def test_a_rubric_obeys_its_schema_even_from_random_weights(judge: ModelJudge):
    (opinion,) = judge.rubric([Single("q", "Hello?", Answer("a", "good"))])
    assert isinstance(opinion.result, Score), opinion.verdicts[0].reply
    said = json.loads(opinion.verdicts[0].reply)
    assert opinion.result.parts == {name: (said[name] - 1) / 4 for name in ("clear", "kind")}


def test_a_question_beyond_the_window_is_an_abstention(judge: ModelJudge):
    long, fits = judge.compare(
        [
            Pair("q1", "x" * 5000, Answer("a", "1"), Answer("b", "2")),
            Pair("q2", "x", Answer("a", "1"), Answer("b", "2")),
        ]
    )
    assert isinstance(long.result, Abstention)
    assert "the judge's engine sees 4096: raise judge.engine.max_model_len" in long.result.reason
    assert isinstance(fits.result, Score)


def test_replies_come_in_the_order_of_the_questions(judge: ModelJudge):
    requests = [
        Request(CHATS[0], max_tokens=8, temperature=0.0),
        Request(CHATS[0], labels=("A",)),
        Request(CHATS[1], max_tokens=8),
    ]
    together = judge.backend.ask(requests * 2)
    kinds = [bool(reply.label_log_probs) for reply in together if isinstance(reply, Reply)]
    assert kinds == [False, True, False] * 2
    assert not [reply for reply in together if isinstance(reply, Failure)]


def test_labels_that_begin_others_leave_them_out():
    """p(1...) = 0.6, of which 0.3 goes on to 10, of which 0.15 goes on to 100: 0.3, 0.15 and 0.15 are left."""
    from actors.engines.vllm_chat import exactly

    nested = {
        "1": ((1,), math.log(0.6)),
        "10": ((1, 0), math.log(0.3)),
        "100": ((1, 0, 0), math.log(0.15)),
        "2": ((2,), math.log(0.4)),
    }
    left = {label: math.exp(log_prob) for label, log_prob in exactly(nested).items()}
    assert left == pytest.approx({"1": 0.3, "10": 0.15, "100": 0.15, "2": 0.4})
    assert sum(left.values()) == pytest.approx(1)
