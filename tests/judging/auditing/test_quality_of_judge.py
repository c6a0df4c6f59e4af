"""The statistics of a whole judge, of which everything is known: a model that weighs two answers rightly, and adds a
logit for the first position."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlsys.config.judge import JudgeConfig
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.judge import ModelJudge
from rlsys.judging.asking.prompts import Prompts
from rlsys.judging.asking.questions import Answer, Pair
from rlsys.judging.asking.templates import load_templates
from rlsys.judging.auditing.canaries import Known
from rlsys.judging.auditing.quality import quality
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.run.ledger import Ledger
from rlsys.samples import Prompt, Score, ScoredGroup, Trajectory, Verdict

WORTH = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0]
"""Logits by which the better answer of each pair is better."""


@dataclass
class Biased:
    """An answer says itself what it is worth."""

    bias: float
    identity: str = "biased@1"

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return [self.reply(request) for request in requests]

    def reply(self, request: Request) -> Reply:
        first, second = (float(worth) for worth in re.findall(r"worth (\d\.\d+)", request.messages[-1]["content"]))
        logit = first - second + self.bias
        return Reply("", "stop", {"A": -math.log1p(math.exp(-logit)), "B": -math.log1p(math.exp(logit))})


def verdicts(bias: float, **settings: object) -> tuple[list[Verdict], int]:
    """Of all pairs; and how many of their labels are right."""
    config = JudgeConfig.model_validate({"model": "m", **settings})
    constitution = Constitution(name="test", principles=(Principle(id="p", comparison="Which is worth more?"),))
    prompts = Prompts(load_templates("default"), constitution, 0, config.max_score, ())
    known = Known("Say it.", "worth 1.50", "worth 0.25", None)
    judge = ModelJudge(Biased(bias), prompts, config, seed=0, canaries=(known,))
    pairs = []
    for number, worth in enumerate(WORTH):
        better, worse = Answer(f"{number}.a", f"worth {worth:.2f}"), Answer(f"{number}.b", "worth 0.00")
        pairs.append(
            Pair(f"q{number}", "Say it.", worse, better) if number % 2 else Pair(f"q{number}", "Say it.", better, worse)
        )
    opinions = judge.compare(pairs)
    right = 0
    for number, opinion in enumerate(opinions):
        assert isinstance(opinion.result, Score)
        right += (opinion.result.value > 0.5) == (number % 2 == 0)
    return [verdict for opinion in opinions for verdict in opinion.verdicts], right


@pytest.mark.parametrize("bias", [0.0, 0.75, -1.75, 4.0])
def test_the_bias_is_measured_and_both_orders_take_it_out(bias: float):
    found, right = verdicts(bias, canary_rate=1.0, repeat_rate=1.0)
    statistics = quality(found)

    def s(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    assert statistics["order_bias"] == pytest.approx(
        sum((s(t + bias) + s(bias - t)) / 2 - 0.5 for t in WORTH) / len(WORTH), abs=1e-9
    )
    assert statistics["same_position_rate"] == sum(abs(bias) > t for t in WORTH) / len(WORTH)
    assert right == len(WORTH)
    assert (statistics["canary_accuracy"], statistics["self_agreement"], statistics["self_difference"]) == (
        1.0,
        1.0,
        0.0,
    )


def test_in_one_order_the_bias_decides():
    """The second, fourth and sixth pair show the better answer second. It leads by 0.5, 1.5 and 3: a bias of 2.5 turns
    the first two round."""
    assert verdicts(2.5, both_orders=False)[1] == 4
    assert verdicts(2.5, both_orders=True)[1] == 6


def test_they_are_the_same_from_the_ledger(tmp_path: Path):
    found, _ = verdicts(0.75, canary_rate=1.0, repeat_rate=1.0)
    group = ScoredGroup(
        Prompt("p", "?", (5,)),
        (Trajectory("s", "p", 0, [5], [0], [0.0], [-1], "stop", ""),),
        (Score(0.0),),
        tuple(found),
    )
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(1, [group], {}, "train")
        assert list(ledger.verdicts()) == found
        assert quality(list(ledger.verdicts(texts=False))) == quality(found)
