"""Judges as functions of what they are shown; numbers are worked out by hand."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from support.fakes import FakeJudge, FunctionReward, prompt, trajectory

from rlsys.config.judge import JudgeRewardConfig
from rlsys.errors import ConfigError, JudgeOutage
from rlsys.judging.asking.questions import Pair, Single
from rlsys.rewards.with_judge import WithJudge
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, ScoredGroup, Trajectory

# What the first letter of a text is worth.
WORTH = {"a": 0.9, "b": 0.5, "c": 0.2}


def group(name: str, *texts: str, epoch: int = 0) -> Group:
    asked = replace(prompt(name), turns=name, epoch=epoch)
    return Group(
        asked,
        tuple(replace(trajectory(name, i, [1], [-1.0], tag=f"t/{epoch}"), text=text) for i, text in enumerate(texts)),
    )


def worth(single: Single) -> RewardResult:
    text = single.answer.text
    return Score(WORTH[text]) if text in WORTH else Abstention("refused" if text else "no label has a probability")


def odds(pair: Pair) -> RewardResult:
    """p(a better than b) = 0.8, a than c 0.9, b than c 0.6; no answer about ?."""
    table = {"ab": 0.8, "ac": 0.9, "bc": 0.6, "ba": 0.2, "ca": 0.1, "cb": 0.4}
    return (
        Score(table[pair.first.text + pair.second.text])
        if "?" not in (pair.first.text, pair.second.text)
        else Abstention("refused")
    )


def rules(p: Prompt, t: Trajectory) -> RewardResult:
    return Abstention("format: gone") if t.text == "x" else Score(1.0, {"format": 1.0})


def scored(
    *groups: Group, decide: Callable[[Any], RewardResult] = worth, inner: bool = False, seed: int = 0, **settings: Any
) -> tuple[list[ScoredGroup], FakeJudge]:
    judge = FakeJudge(decide)
    rewards = WithJudge(FunctionReward(rules) if inner else None, judge, JudgeRewardConfig(**settings), seed)
    return list(rewards.score(groups)), judge


def test_a_score_is_added_by_its_weight():
    (one, two), judge = scored(group("p", "a", "c"), group("q", "b"), inner=True, weight=2.0)
    assert one.results == (Score(2.8, {"format": 1.0, "judge": 0.9}), Score(1.4, {"format": 1.0, "judge": 0.2}))
    assert two.results == (Score(2.0, {"format": 1.0, "judge": 0.5}),)
    ((kind, asked),) = judge.calls  # all at once
    assert [(single.question_id, single.turns, single.answer.text, single.principle) for single in asked] == [
        ("t/0/p/0/judge", "p", "a", None),
        ("t/0/p/1/judge", "p", "c", None),
        ("t/0/q/0/judge", "q", "b", None),
    ]
    assert kind == "score"
    assert [[verdict.sample_ids for verdict in one.verdicts], [verdict.sample_ids for verdict in two.verdicts]] == [
        [("t/0/p/0",), ("t/0/p/1",)],
        [("t/0/q/0",)],
    ]


def test_without_rules_a_sample_starts_from_zero():
    (one,), _ = scored(group("p", "a"), weight=0.5, name="helpful")
    assert one.results == (Score(0.45, {"helpful": 0.9}),)


def test_abstentions_stay_abstentions():
    """What the rules abstained from is not shown; what the judge abstains from has its reason; an empty answer is
    shown."""
    (one,), judge = scored(group("p", "x", "?", "", "b"), inner=True)
    assert one.results == (
        Abstention("format: gone"),
        Abstention("judge: refused"),
        Abstention("judge: no label has a probability"),
        Score(1.5, {"format": 1.0, "judge": 0.5}),
    )
    assert [single.answer.text for _, asked in judge.calls for single in asked] == ["?", "", "b"]
    assert [verdict.abstention for verdict in one.verdicts] == ["refused", "no label has a probability", None]


def test_a_rubric_shows_its_criteria():
    (one,), judge = scored(group("p", "a"), mode="rubric", decide=lambda _: Score(0.75, {"kind": 1.0, "brief": 0.25}))
    assert one.results == (Score(0.75, {"judge": 0.75, "judge.kind": 1.0, "judge.brief": 0.25}),)
    assert [kind for kind, _ in judge.calls] == ["rubric"]


def test_a_sample_is_worth_how_often_it_would_win():
    (one, two), judge = scored(group("p", "a", "b", "c"), group("q", "c", "a"), mode="compare", decide=odds)
    # a: (0.8 + 0.9) / 2, b: (0.2 + 0.6) / 2, c: (0.1 + 0.4) / 2.
    assert values(one) == pytest.approx([0.85, 0.4, 0.25])
    assert values(two) == pytest.approx([0.1, 0.9])
    ((_, asked),) = judge.calls
    ids = ["t/0/p/0~1/judge", "t/0/p/0~2/judge", "t/0/p/1~2/judge", "t/0/q/0~1/judge"]
    assert [pair.question_id for pair in asked] == ids
    assert [verdict.sample_ids for verdict in one.verdicts] == [
        ("t/0/p/0", "t/0/p/1"),
        ("t/0/p/0", "t/0/p/2"),
        ("t/0/p/1", "t/0/p/2"),
    ]


def test_comparisons_that_fail_leave_the_rest():
    (one, two, three), _ = scored(
        group("p", "a", "?", "c"), group("q", "a", "x", "b"), group("r", "a"), mode="compare", decide=odds, inner=True
    )
    assert values(one) == [pytest.approx(1.9), "judge: refused", pytest.approx(1.1)]
    assert values(two) == [pytest.approx(1.8), "format: gone", pytest.approx(1.2)]
    assert len(two.verdicts) == 1
    assert three.results == (Abstention("judge: no other sample of its group to compare it with"),)


@pytest.mark.parametrize("mode", ["score", "rubric", "compare"])
def test_a_principle_is_drawn_for_each_group_and_each_time(mode: Literal["score", "rubric", "compare"]):
    def drawn(seed: int, epoch: int) -> list[str]:
        groups = [group(f"p{i}", "a", "b", "c", epoch=epoch) for i in range(300)]
        _, judge = scored(*groups, decide=lambda _: Score(0.5), seed=seed, mode=mode, principle=True)
        of_prompt: dict[str, set[str]] = {}
        for _, asked in judge.calls:
            for question in asked:
                of_prompt.setdefault(question.turns, set()).add(question.principle.id)
        assert all(len(principles) == 1 for principles in of_prompt.values())
        return [min(of_prompt[f"p{i}"]) for i in range(300)]

    first = drawn(seed=0, epoch=0)
    # Three equally likely ones, each 100 times, with a standard deviation of sqrt(300 x 1/3 x 2/3) = 8.2.
    assert all(count == pytest.approx(100, abs=4 * 8.2) for count in Counter(first).values())
    assert drawn(seed=0, epoch=0) == first
    assert first not in (drawn(seed=1, epoch=0), drawn(seed=0, epoch=1))


def test_groups_come_out_while_others_still_come_in():
    taken: list[int] = []

    def incoming() -> Iterator[Group]:
        for number in range(5):
            taken.append(number)
            yield group(f"p{number}", "a", "b")

    judge = FakeJudge(worth)
    out = WithJudge(None, judge, JudgeRewardConfig(), 0, groups_per_call=2).score(incoming())
    assert next(out).prompt.prompt_id == "p0"
    assert taken == [0, 1]
    assert [one.prompt.prompt_id for one in out] == ["p1", "p2", "p3", "p4"]
    assert [len(asked) for _, asked in judge.calls] == [4, 4, 2]


def test_an_outage_is_the_runs():
    def away(question: Any) -> RewardResult:
        raise JudgeOutage("the judge is away")

    with pytest.raises(JudgeOutage, match="the judge is away"):
        scored(group("p", "a"), decide=away)


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match=r"judge\.reward\.weight is nan"):
        scored(group("p", "a"), weight=float("nan"))
    with pytest.raises(ConfigError, match="two rewards have the name 'format'; give one of them another"):
        scored(group("p", "a"), inner=True, name="format")


def values(group: ScoredGroup) -> list[float | str]:
    """Scores, and why there is none."""
    return [result.value if isinstance(result, Score) else result.reason for result in group.results]
