from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CONSTITUTION, FakeJudge, FunctionReward
from support.scripted_sampler import STEP, TOKENIZER, Scripted, asked, counts, length

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import load_comparisons
from rlsys.data.stream import Stream
from rlsys.errors import RlsysError
from rlsys.judging.asking.questions import Pair
from rlsys.methods.base import Experience, Step
from rlsys.methods.rlaif import Config, Method
from rlsys.roles import Roles
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Abstention, Prompt, RewardResult, Score

FIRST, SECOND = "train-1/train:1/0/0", "train-1/train:1/0/1"


def likes_length(pair: Pair) -> RewardResult:
    """0.75 for the longer of two; abstains where one begins with a question mark."""
    first, second = pair.first.text, pair.second.text
    if "?" in (first[:1], second[:1]):
        return Abstention("refused")
    return Score(0.5 if len(first) == len(second) else 0.75 if len(first) > len(second) else 0.25)


def collected(
    rows: list[Prompt], *answers: tuple[str, str], judge: FakeJudge | None = None, step: Step = STEP, **settings: Any
) -> Experience:
    method = Method(Config(prompts_per_step=len(rows), **settings), SamplingConfig(max_tokens=16), 0)
    reward = FunctionReward(length) if "reward" in method.config.facts.needs else None
    roles = Roles(rollout=Scripted(*answers), reward=reward, judge=judge or FakeJudge(likes_length))
    return method.collect(roles, Stream(rows, 0, shuffle=False), step)


def test_the_judge_labels_a_pair_softly(tmp_path: Path):
    judge = FakeJudge(likes_length)
    experience = collected(asked(tmp_path, 1), ("ab", "abc"), judge=judge)
    principle = experience.rows[0]["principle"]
    assert experience.rows == (
        {
            "prompt": "q",
            "prompt_id": "train:1",
            "chosen": "abc",
            "rejected": "ab",
            "preference": 0.75,
            "principle": principle,
            "chosen_id": SECOND,
            "rejected_id": FIRST,
        },
    )
    ((_, (pair,)),) = judge.calls
    assert (pair.turns, pair.first.text, pair.second.text) == ("q", "ab", "abc")
    assert pair.principle == next(one for one in CONSTITUTION.principles if one.id == principle)
    (group,) = experience.groups
    assert group.results == (Score(0.25, {"preference": 0.25}), Score(0.75, {"preference": 0.75}))
    assert [(verdict.sample_ids, verdict.principle, verdict.value) for verdict in group.verdicts] == [
        ((FIRST, SECOND), principle, 0.25)
    ]
    assert counts(experience) == {"rows": 1}


def test_pairs_that_say_nothing_are_not_asked_about_and_counted(tmp_path: Path):
    answers = (("ab", "c"), ("ab", "ab"), ("?", "ab"), ("", "ab"), (" ", "\n"), ("ab", "cd"))
    judge = FakeJudge(likes_length)
    experience = collected(asked(tmp_path, 6), *answers, judge=judge)
    assert [(row["chosen"], row["rejected"], row["preference"]) for row in experience.rows] == [
        ("ab", "c", 0.75),
        ("ab", "cd", 0.5),
    ]
    assert counts(experience) == {"rows": 2, "equal_texts": 1, "empty": 2, "unjudged": 1}
    assert [len(questions) for _, questions in judge.calls] == [3]  # all at once
    assert experience.metrics["labels/certainty"] == (0.75 + 0.5) / 2
    unasked = Abstention("not compared: an answer is empty, or both are equal")
    refused = Abstention("refused")
    assert [group.results for group in experience.groups[1:5]] == [
        (unasked,) * 2,
        (refused,) * 2,
        (unasked,) * 2,
        (unasked,) * 2,
    ]
    assert [len(group.verdicts) for group in experience.groups] == [1, 0, 1, 0, 0, 1]


def test_a_judge_that_abstains_from_everything_stops_the_run(tmp_path: Path):
    with pytest.raises(
        RlsysError, match=r"train-1: none of 2 comparisons could be judged; most often \(2\): no opinion"
    ):
        collected(asked(tmp_path, 3), ("ab", "c"), ("ab", "c"), ("", "c"), judge=FakeJudge())
    assert counts(collected(asked(tmp_path, 1), ("ab", "ab"), judge=FakeJudge())) == {
        "equal_texts": 1
    }  # nothing was asked


def test_a_principle_is_drawn_for_each_comparison(tmp_path: Path):
    rows, answers = asked(tmp_path, 900), ("ab", "c")

    def drawn(rows: list[Prompt], **settings: Any) -> dict[str, Any]:
        return {row["prompt_id"]: row["principle"] for row in collected(rows, answers, **settings).rows}

    first = drawn(rows)
    # Of three equally likely ones, each 300 times, with a standard deviation of sqrt(900 x 1/3 x 2/3) = 14.1.
    assert all(count == pytest.approx(300, abs=4 * 14.1) for count in Counter(first.values()).values())
    assert len(set(first.values())) == 3
    assert drawn(rows[::-1], step=Step(number=5, version=0, seed=0)) == first
    assert drawn(rows, step=Step(number=1, version=0, seed=1)) != first
    assert set(drawn(rows[:9], principles=False).values()) == {None}
    method, stream = (
        Method(Config(prompts_per_step=900), SamplingConfig(max_tokens=16), 0),
        Stream(rows, 0, shuffle=False),
    )
    roles = Roles(rollout=Scripted(answers), judge=FakeJudge(likes_length))
    epochs = [
        {row["prompt_id"]: row["principle"] for row in method.collect(roles, stream, STEP).rows} for _ in range(2)
    ]
    assert epochs[0] == first
    assert epochs[1] != first


def test_rules_are_measured_beside_and_change_no_label(tmp_path: Path):
    def likes_brevity(pair: Pair) -> RewardResult:
        return Score(0.9 if len(pair.first.text) < len(pair.second.text) else 0.8)

    rows, answers = asked(tmp_path, 3), (("ab", "abc"), ("abc", "ab"), ("?", "ab"))
    plain, measured = (
        collected(rows, *answers, judge=FakeJudge(likes_brevity), measure=measure) for measure in (False, True)
    )
    assert plain.rows == measured.rows
    # By length the first pair's label is wrong, the second's right; of the third one answer has no score.
    assert counts(measured) == {"rows": 3, "mislabelled": 1}
    assert [group.results for group in measured.groups] == [
        (Score(2.0), Score(3.0)),
        (Score(3.0), Score(2.0)),
        (Abstention("no idea"), Score(2.0)),
    ]
    assert [group.verdicts for group in measured.groups] == [group.verdicts for group in plain.groups]
    needs = [Config(measure=measure).facts.needs for measure in (False, True)]
    assert needs == [{"rollout", "judge"}, {"rollout", "judge", "reward"}]


def test_the_rows_read_back_with_their_soft_labels(tmp_path: Path):
    experience = collected(asked(tmp_path, 2), ("ab", "abc"), ("ab", "cd"))
    MadeDataset(tmp_path / "dataset.jsonl").append(1, experience.rows)
    rows = load_comparisons(
        DatasetConfig(path=str(tmp_path / "dataset.jsonl")), TOKENIZER, 100, strict=True, quarantine=None
    ).rows
    assert [(row.grades, row.preference) for row in rows] == [((1.0, 0.0), 0.75), ((1.0, 0.0), 0.5)]
    assert [
        bytes(row.answers[0].token_ids[-len(text) - 1 : -1]).decode()
        for row, text in zip(rows, ("abc", "ab"), strict=True)
    ] == [
        "abc",
        "ab",
    ]
