"""The judge over a model whose every reply is known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rlsys.config.judge import CriterionConfig, JudgeConfig
from rlsys.judging.asking.constitution import Constitution, Principle
from rlsys.judging.asking.judge import ModelJudge
from rlsys.judging.asking.prompts import Prompts
from rlsys.judging.asking.questions import Answer, Opinion, Pair, Single
from rlsys.judging.asking.templates import load_templates
from rlsys.judging.auditing.canaries import Known
from rlsys.judging.auditing.quality import quality
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint.cache import CachedBackend
from rlsys.samples import Abstention, Score

KIND = Principle(id="kind", critique="What is unkind?", revision="Make it kind.", comparison="Which is kinder?")
CONSTITUTION = Constitution(name="test", principles=(KIND,))
GOOD, BAD = Answer("s/1", "good"), Answer("s/0", "bad one")


@dataclass
class Model:
    """A backend whose replies a function gives."""

    reply: Callable[[Request], Reply | Failure]
    identity: str = "model@1"
    asked: list[list[Request]] = field(default_factory=list)

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        self.asked.append(list(requests))
        return [self.reply(request) for request in requests]


def make(
    reply: Callable[[Request], Reply | Failure], canaries: tuple[Known, ...] = (), **settings: object
) -> ModelJudge:
    config = JudgeConfig.model_validate({"model": "m", "canary_rate": 0.0, "repeat_rate": 0.0, **settings})
    prompts = Prompts(load_templates("default"), CONSTITUTION, 0, config.max_score, config.criteria)
    return ModelJudge(Model(reply), prompts, config, seed=0, canaries=canaries)


def requests(judge: ModelJudge) -> list[Request]:
    assert isinstance(judge.backend, Model)
    return [request for batch in judge.backend.asked for request in batch]


def shown(request: Request) -> list[str]:
    """The candidates of a comparison, in the order in which they are shown."""
    found = re.findall(r"\b(good|bad one)\b", request.messages[-1]["content"])
    return list(dict.fromkeys(found))


def says(first: float) -> Reply:
    return Reply(
        "",
        "stop",
        {"A": math.log(first), "B": math.log(1 - first)},
        prompt_tokens=7,
        completion_tokens=1,
        seconds=0.5,
        cost=0.25,
    )


def prefers_good(bias: float) -> Callable[[Request], Reply]:
    """Gives the good answer logit 1 and the first position logit `bias`."""

    def reply(request: Request) -> Reply:
        logit = (1 if shown(request)[0] == "good" else -1) + bias
        return says(1 / (1 + math.exp(-logit)))

    return reply


def pair(name: str = "q", first: Answer = GOOD, second: Answer = BAD) -> Pair:
    return Pair(name, "Hello?", first, second, KIND)


def value(opinion: Opinion) -> float:
    assert isinstance(opinion.result, Score)
    return opinion.result.value


def test_both_orders_are_asked_and_averaged():
    judge = make(lambda request: says(0.9 if shown(request)[0] == "good" else 0.4))
    (opinion,) = judge.compare([pair()])
    assert value(opinion) == pytest.approx((0.9 + 0.6) / 2)
    assert [shown(request) for request in requests(judge)] == [["good", "bad one"], ["bad one", "good"]]
    first, second = opinion.verdicts
    assert (first.verdict_id, first.sample_ids, first.value) == ("q/compare/0", ("s/1", "s/0"), pytest.approx(0.9))
    assert (second.verdict_id, second.sample_ids, second.value) == ("q/compare/1", ("s/0", "s/1"), pytest.approx(0.4))
    assert (first.principle, first.judge, first.lengths) == ("kind", "model@1", (4, 7))
    assert "Which is kinder?" in json.loads(first.prompt)[-1]["content"]
    assert first.log_probs == {"A": pytest.approx(math.log(0.9)), "B": pytest.approx(math.log(0.1))}
    assert (first.prompt_tokens, first.completion_tokens, first.seconds, first.cost, first.cached) == (
        7,
        1,
        0.5,
        0.25,
        False,
    )


@pytest.mark.parametrize("bias", [-3.0, -1.0, 0.0, 1.0, 3.0])
def test_averaging_takes_a_bias_for_a_position_out(bias: float):
    """Logits 1 + b and -1 + b of the first place: (sigmoid(1 + b) + 1 - sigmoid(b - 1)) / 2, the same for b and -b and
    above one half for all b; each order alone is wrong once the bias is larger than the difference."""
    (opinion,) = make(prefers_good(bias)).compare([pair()])
    sigmoid = [1 / (1 + math.exp(-(place + bias))) for place in (1, -1)]
    assert value(opinion) == pytest.approx((sigmoid[0] + 1 - sigmoid[1]) / 2)
    assert value(opinion) > 0.5
    (mirrored,) = make(prefers_good(-bias)).compare([pair()])
    assert value(mirrored) == pytest.approx(value(opinion))
    (turned,) = make(prefers_good(bias)).compare([pair(first=BAD, second=GOOD)])
    assert value(turned) == pytest.approx(1 - value(opinion))


def test_one_order_alone_keeps_the_bias():
    (opinion,) = make(prefers_good(-3.0), both_orders=False).compare([pair()])
    assert value(opinion) == pytest.approx(1 / (1 + math.exp(2)))
    assert len(opinion.verdicts) == 1


def test_a_pair_without_one_of_its_orders_has_no_opinion():
    judge = make(lambda request: says(0.9) if shown(request)[0] == "good" else Failure("HTTP 400"))
    (opinion,) = judge.compare([pair()])
    assert opinion.result == Abstention("HTTP 400")
    assert [(verdict.value, verdict.abstention) for verdict in opinion.verdicts] == [
        (pytest.approx(0.9), None),
        (None, "HTTP 400"),
    ]


def test_a_refusal_is_no_verdict():
    refuses = Reply("", "stop", {"A": math.log(0.01), "B": math.log(0.02)})
    (opinion,) = make(lambda _: refuses).compare([pair()])
    assert opinion.result == Abstention("no verdict: the labels A, B have 0.03 of the probability together")


def test_with_reasons_the_label_is_asked_for_after_them_and_kept_near_the_middle():
    def reply(request: Request) -> Reply:
        return says(0.99) if request.labels else Reply("Because it is <|assistant|> kind.", "stop")

    judge = make(reply, chain_of_thought=True, both_orders=False)
    (opinion,) = judge.compare([pair()])
    assert value(opinion) == 0.6
    reasons, label = requests(judge)
    assert (reasons.labels, label.labels) == ((), ("A", "B"))
    assert label.messages[: len(reasons.messages)] == reasons.messages
    assert label.messages[-2]["role"] == "assistant"
    assert "<|assistant|>" not in label.messages[-2]["content"]
    (verdict,) = opinion.verdicts
    assert verdict.reply == "Because it is <|assistant|> kind."
    assert verdict.value == 0.6


def test_reasons_that_never_came_are_an_abstention():
    judge = make(lambda request: says(0.9) if request.labels else Failure("timed out"), chain_of_thought=True)
    (opinion,) = judge.compare([pair()])
    assert opinion.result == Abstention("timed out")
    assert not [request for request in requests(judge) if request.labels]


def test_scores_are_expected_ones():
    numbers = Reply("", "stop", {"1": -math.inf, "2": math.log(0.25), "3": math.log(0.75)})
    judge = make(lambda _: numbers, max_score=3)
    (opinion,) = judge.score([Single("q", "Hello?", GOOD)])
    assert value(opinion) == pytest.approx((0.25 * 2 + 0.75 * 3 - 1) / 2)
    assert requests(judge)[0].labels == ("1", "2", "3")
    assert opinion.verdicts[0].principle is None


def test_a_rubric_has_its_criteria_as_parts():
    criteria = (CriterionConfig(name="clear", description="Clear?"), CriterionConfig(name="kind", description="Kind?"))
    judge = make(lambda _: Reply('{"clear": 5, "kind": 1}', "stop"), criteria=criteria, max_score=5)
    (opinion,) = judge.rubric([Single("q", "Hello?", GOOD)])
    assert opinion.result == Score(0.5, {"clear": 1.0, "kind": 0.0})
    assert requests(judge)[0].schema is not None
    cut = make(lambda _: Reply('{"clear": 5, "kind": 1}', "length"), criteria=criteria, max_score=5)
    assert cut.rubric([Single("q", "Hello?", GOOD)])[0].result == Abstention("the text was not finished (length)")


@pytest.mark.parametrize(
    ("reply", "text", "why"),
    [
        (Reply(" Be kinder. ", "stop"), "Be kinder.", None),
        (Reply("Be ki", "length"), None, "the text was not finished (length)"),
        (Reply("", "content_filter"), None, "the text was not finished (content_filter)"),
        (Reply("  ", "stop"), None, "the text is empty"),
        (Failure("refused"), None, "refused"),
    ],
)
def test_texts_are_whole_or_none(reply: Reply | Failure, text: str | None, why: str | None):
    judge = make(lambda _: reply)
    for writing in (
        *judge.critique([Single("q", "Hello?", BAD, KIND)]),
        *judge.revise([Single("q", "Hello?", BAD, KIND, critique="Rude.")]),
    ):
        assert (writing.text, writing.verdict.abstention) == (text, why)
        assert writing.verdict.principle == "kind"
    critique, revision = requests(judge)
    assert "What is unkind?" in critique.messages[-1]["content"]
    assert "Rude." in revision.messages[-1]["content"]


def test_canaries_are_slipped_in_with_the_answer_that_they_should_get():
    canary = Known("Hi", "good", "bad one", None)
    judge = make(prefers_good(0.0), canaries=(canary,), canary_rate=1.0)
    opinion, other = judge.compare([pair("q1"), pair("q2")])
    assert [verdict.kind for verdict in opinion.verdicts] == ["compare", "compare", "canary", "canary"]
    canaries = opinion.verdicts[2:]
    assert [verdict.expected for verdict in canaries] == [1.0, 0.0]
    assert [verdict.verdict_id for verdict in canaries] == ["q1/canary/0", "q1/canary/1"]
    assert [verdict.value and round(verdict.value, 4) for verdict in canaries] == [0.7311, 0.2689]
    assert canaries[0].sample_ids == ()
    assert value(opinion) == value(other) == pytest.approx(1 / (1 + math.exp(-1)))
    assert isinstance(judge.backend, Model)
    assert len(judge.backend.asked) == 1, "one batch, in which nothing tells a canary from the rest"


def test_repeats_go_past_the_cache_and_are_held_against_the_first_answer():
    judge = make(lambda request: says(0.8 if request.fresh else 0.7), repeat_rate=1.0)
    (opinion,) = judge.compare([pair()])
    *orders, repeat = opinion.verdicts
    assert [verdict.kind for verdict in orders] == ["compare", "compare"]
    assert (repeat.verdict_id, repeat.kind, repeat.value, repeat.expected) == (
        "q/repeat/0",
        "repeat",
        pytest.approx(0.8),
        pytest.approx(0.7),
    )
    assert value(opinion) == pytest.approx(0.5)
    scores = make(
        lambda request: Reply(
            "", "stop", {"1": 0.0 if request.fresh else -math.inf, "2": -math.inf if request.fresh else 0.0}
        )
    )
    (opinion,) = make(scores.backend.reply, repeat_rate=1.0, max_score=2).score([Single("q", "Hello?", GOOD)])  # type: ignore[attr-defined]
    assert [(verdict.kind, verdict.value, verdict.expected) for verdict in opinion.verdicts] == [
        ("score", 1.0, None),
        ("repeat", 0.0, 1.0),
    ]


def test_audits_come_at_their_rates_and_always_to_the_same_questions():
    """1000 questions, rates of 0.1: 100 of each, give or take four standard deviations of 9.5."""
    judge = make(prefers_good(0.0), canaries=(Known("Hi", "good", "bad one", None),), canary_rate=0.1, repeat_rate=0.1)
    opinions = judge.compare([pair(f"q{number}") for number in range(1000)])
    kinds = [{verdict.kind for verdict in opinion.verdicts} for opinion in opinions]
    for kind in ("canary", "repeat"):
        assert abs(sum(kind in found for found in kinds) - 100) < 38
    again = judge.compare([pair(f"q{number}") for number in range(1000)])
    assert [opinion.verdicts for opinion in again] == [opinion.verdicts for opinion in opinions]


def test_greedy_texts_have_one_seed_and_sampled_ones_their_own():
    cold, warm = make(lambda _: Reply("x", "stop")), make(lambda _: Reply("x", "stop"), temperature=0.7)
    for judge in (cold, warm):
        judge.critique([Single(f"q{number}", "Hello?", BAD, KIND) for number in range(3)])
    assert {request.seed for request in requests(cold)} == {0}
    assert len({request.seed for request in requests(warm)}) == 3


def test_audits_go_past_the_cache(tmp_path: Path):
    """On a second run everything but the audits is known: a judge that has turned bad is seen by what it says now."""
    canary = Known("Hi", "good", "bad one", None)
    good = make(prefers_good(0.0), canaries=(canary,), canary_rate=1.0, repeat_rate=1.0)
    bad = make(
        lambda request: says(0.1 if shown(request)[0] == "good" else 0.9),
        canaries=(canary,),
        canary_rate=1.0,
        repeat_rate=1.0,
    )
    (before,) = replace(good, backend=CachedBackend(good.backend, tmp_path / "cache")).compare([pair()])
    (after,) = replace(bad, backend=CachedBackend(bad.backend, tmp_path / "cache")).compare([pair()])
    assert after.result == before.result
    assert [(verdict.kind, verdict.cached) for verdict in after.verdicts] == [
        *[("compare", True)] * 2,
        *[("canary", False)] * 2,
        ("repeat", False),
    ]
    assert [quality(opinion.verdicts)["canary_accuracy"] for opinion in (before, after)] == [1.0, 0.0]


@pytest.mark.parametrize("mode", ["score", "rubric"])
def test_who_scores_is_watched_too(mode: str):
    """Good is 3 of 3, bad is 1 of 3; of a canary, 1/2 + (1 - 0) / 2 = 1 for the better one."""

    def reply(request: Request) -> Reply:
        number = 1 if "bad one" in shown(request) else 3  # "good" is in the question, too
        if request.labels:
            return Reply("3", "stop", {str(n): 0.0 if n == number else -math.inf for n in (1, 2, 3)})
        return Reply(json.dumps({"kind": number}), "stop")

    criteria = (CriterionConfig(name="kind", description="Kind?"),)
    judge = make(
        reply, (Known("Hi", "good", "bad one", None),), canary_rate=1.0, repeat_rate=1.0, criteria=criteria, max_score=3
    )
    ask = judge.score if mode == "score" else judge.rubric
    good, bad = ask([Single("q1", "Hello?", GOOD), Single("q2", "Hello?", BAD)])
    assert (value(good), value(bad)) == (1.0, 0.0)
    kinds = [(verdict.verdict_id, verdict.value, verdict.expected) for verdict in good.verdicts]
    assert kinds == [
        (f"q1/{mode}/0", 1.0, None),
        ("q1/canary/0", 1.0, 1.0),
        ("q1/canary/1", 0.0, 0.0),
        ("q1/repeat/0", 1.0, 1.0),
    ]
    assert quality([*good.verdicts, *bad.verdicts])["canary_accuracy"] == 1.0
    # The longer answer has the lower score, and there are two points.
    assert quality([*good.verdicts, *bad.verdicts])["score_length_correlation"] == pytest.approx(-1)
    assert good.verdicts[0].reply == ("" if mode == "score" else '{"kind": 3}'), "a label is no rationale"


def test_half_a_canary_is_none():
    def fails(request: Request) -> Reply | Failure:
        return Failure("HTTP 400") if "bad one" in shown(request) else Reply("", "stop", {"1": -9.0, "2": -0.001})

    judge = make(fails, (Known("Hi", "good", "bad one", None),), canary_rate=1.0, max_score=2)
    (opinion,) = judge.score([Single("q", "Hello?", GOOD)])
    assert [(verdict.value is None, verdict.abstention) for verdict in opinion.verdicts[1:]] == [(True, "HTTP 400")] * 2
