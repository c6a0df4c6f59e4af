"""What rft, rest_em and raft keep of their samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.fakes import FunctionReward
from support.scripted_sampler import STEP, TOKENIZER, Scripted, asked, counts, length, prompts, sample

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import Sampling, SamplingConfig
from rlsys.data.load import load_demonstrations
from rlsys.data.stream import Stream
from rlsys.errors import ConfigError, DataError
from rlsys.methods.base import Experience, Step
from rlsys.methods.shared.difficulty import PREFIX, difficulty_rows
from rlsys.methods.shared.rejection import Rejection
from rlsys.registry import resolve
from rlsys.roles import Roles
from rlsys.run.history import RunHistory
from rlsys.run.ledger import Ledger
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Abstention, Group, Prompt, RewardResult, Score, Trajectory


def named(name: str, **settings: Any) -> Rejection:
    config = resolve("rlsys.methods", name, "Config").model_validate(settings)
    return resolve("rlsys.methods", name, "Method")(config, SamplingConfig(max_tokens=16), 0)


def verified(prompt: Prompt, trajectory: Trajectory) -> RewardResult:
    """What ends in =8 is right; a question mark is not judged."""
    text = trajectory.text
    return (
        Abstention("no idea")
        if text.startswith("?")
        else Score(float(text.endswith("=8")), {"right": float(text.endswith("=8"))})
    )


def collected(
    rows: list[Prompt],
    *answers: tuple[str, ...],
    method: str = "rft",
    reward: Any = verified,
    step: Step = STEP,
    **settings: Any,
) -> Experience:
    made = named(method, prompts_per_step=len(rows), samples=len(answers[0]), **settings)
    return made.collect(
        Roles(rollout=Scripted(*answers), reward=FunctionReward(reward)), Stream(rows, 0, shuffle=False), step
    )


def plain(experience: Experience) -> dict[str, float]:
    return {name: count for name, count in counts(experience).items() if "/" not in name}


def texts(experience: Experience) -> list[str]:
    return [row["answer"] for row in experience.rows]


def test_what_becomes_of_each_sample(tmp_path: Path):
    answers = ("3+5=8", "3+6=9", "?", " ", "so 3+5=8", "5+3=8", "1+7=8")
    experience = collected(asked(tmp_path, 1), answers, path="equations", most_per_prompt=2, choose="first")
    assert experience.rows == (
        {
            "prompt": "q",
            "prompt_id": "train:1",
            "answer": "3+5=8",
            "truth": None,
            "reward": 1.0,
            "path": ["3+5=8"],
            "sample_id": "train-1/train:1/0/0",
        },
        {
            "prompt": "q",
            "prompt_id": "train:1",
            "answer": "5+3=8",
            "truth": None,
            "reward": 1.0,
            "path": ["5+3=8"],
            "sample_id": "train-1/train:1/0/5",
        },
    )
    assert plain(experience) == {
        "accepted": 2,
        "rejected": 1,
        "unscored": 1,
        "empty": 1,
        "duplicates": 1,
        "over_cap": 1,
    }
    assert (
        len(experience.groups[0].trajectories) == sum(plain(experience).values()) == 7
    )  # all in the ledger, each counted once


def test_by_exact_text_other_words_are_another_path(tmp_path: Path):
    experience = collected(asked(tmp_path, 1), ("3+5=8", "so 3+5=8", "3+5=8"))
    assert texts(experience) == ["3+5=8", "so 3+5=8"]
    assert [row["path"] for row in experience.rows] == [None, None]
    assert plain(experience) == {"accepted": 2, "duplicates": 1}


def test_the_cap_keeps_the_paths_that_differ_most(tmp_path: Path):
    answers = ("a=1 b=2 =8", "a=1 b=2 c=3 =8", "x=1 y=2 =8")
    assert texts(collected(asked(tmp_path, 1), answers, most_per_prompt=2)) == [answers[0], answers[2]]
    assert texts(collected(asked(tmp_path, 1), answers, most_per_prompt=2, choose="first")) == list(answers[:2])


def test_a_path_that_was_shown_is_a_duplicate(tmp_path: Path):
    rows = prompts(tmp_path / "p.jsonl", ['{"prompt": "q", "answer": "We add: 3+5=8"}'], fields={"shown": "answer"})
    experience = collected(rows, ("3+5=8", "5+3=8"), path="equations", demonstration="shown")
    assert (texts(experience), plain(experience)) == (["5+3=8"], {"accepted": 1, "duplicates": 1})
    assert experience.rows[0]["truth"] == "We add: 3+5=8"
    with pytest.raises(DataError, match=r"prompt train:1: has no field 'shown', which method\.demonstration names"):
        collected(asked(tmp_path, 1), ("3+5=8",), demonstration="shown")


@pytest.mark.parametrize(
    ("changes", "outcome"), [({"finish_reason": "length"}, "truncated"), ({"unknown_tokens": 1}, "unknown_tokens")]
)
def test_answers_whose_text_is_not_all_that_was_sampled_are_left_out(
    tmp_path: Path, changes: dict[str, Any], outcome: str
):
    class Changed(Scripted):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
            for group in super().generate(prompts, sampling, tag):
                first, *rest = group.trajectories
                yield Group(group.prompt, (replace(first, **changes), *rest))

    made = named("rft", prompts_per_step=1, samples=2)
    roles = Roles(rollout=Changed(("3+5=8", "4+4=8")), reward=FunctionReward(verified))
    experience = made.collect(roles, Stream(asked(tmp_path, 1), 0, shuffle=False), STEP)
    assert (texts(experience), plain(experience)) == (["4+4=8"], {"accepted": 1, outcome: 1})


def test_best_of_n_takes_the_first_of_equals_whatever_its_reward(tmp_path: Path):
    experience = collected(
        asked(tmp_path, 3),
        *(("a", "bcd", "efg", "?"), ("?", "", "", "?"), ("", "h", "", "")),
        method="raft",
        reward=length,
    )
    assert [(row["answer"], row["reward"]) for row in experience.rows] == [("bcd", 3.0), ("h", 1.0)]
    assert plain(experience) == {"accepted": 2, "rejected": 2, "unscored": 3, "empty": 5, "prompts_without_any": 1}
    # One is kept of every prompt, be it hard or easy: that tells nothing of its difficulty.
    assert not [name for name in experience.metrics if name.startswith(PREFIX)]


def test_best_of_n_is_the_best_also_where_a_step_takes_a_prompt_in_two_epochs(tmp_path: Path):
    class Twice(Stream[Prompt]):
        def take(self, n: int) -> list[Prompt]:
            (prompt,) = super().take(1)
            return [prompt, replace(prompt, epoch=1)]

    made = named("raft", prompts_per_step=2, samples=2)
    roles = Roles(rollout=Scripted(("a", "bc"), ("def", "g")), reward=FunctionReward(length))
    experience = made.collect(roles, Twice(asked(tmp_path, 1), 0, shuffle=False), STEP)
    assert (texts(experience), plain(experience)) == (["def"], {"accepted": 1, "rejected": 2, "over_cap": 1})


def test_a_named_reward_and_its_threshold_decide(tmp_path: Path):
    def two(prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        return Score(-5.0, {"length": float(len(trajectory.text)), "other": 9.0})

    roles = Roles(rollout=Scripted(("a", "ab", "abc")), reward=FunctionReward(two))
    source = Stream(asked(tmp_path, 1), 0, shuffle=False)
    experience = named("rft", prompts_per_step=1, samples=3, reward="length", threshold=2.0).collect(
        roles, source, STEP
    )
    assert [(row["answer"], row["reward"]) for row in experience.rows] == [("ab", 2.0), ("abc", 3.0)]
    with pytest.raises(ConfigError, match=r"method.reward: 'size' is not among the rewards \(length, other\)"):
        named("rft", prompts_per_step=1, samples=3, reward="size").collect(roles, source, STEP)


class Luckier:
    """Says the wrong thing in a first round; in the next, prompt 2 has luck; then all have."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        self.calls.append((tag, [prompt.prompt_id for prompt in prompts]))
        for prompt in reversed(prompts):
            lucky = (
                prompt.prompt_id == "train:1"
                or (prompt.prompt_id == "train:2" and "again" in tag)
                or tag.endswith("again-2")
            )
            yield Group(prompt, tuple(sample(prompt, i, f"{i}+1={8 if lucky else 9}", tag) for i in range(sampling.n)))


def test_hard_prompts_are_sampled_again_with_other_seeds(tmp_path: Path):
    def again(extra_rounds: int) -> tuple[Luckier, Experience]:
        rollout = Luckier()
        made = named("rft", prompts_per_step=3, samples=2, extra_rounds=extra_rounds, enough=2)
        return rollout, made.collect(
            Roles(rollout=rollout, reward=FunctionReward(verified)), Stream(asked(tmp_path, 3), 0, False), STEP
        )

    rollout, experience = again(5)
    # A call's tag is part of every sample's seed and id.
    assert rollout.calls == [
        ("train-1", ["train:1", "train:2", "train:3"]),
        ("train-1-again-1", ["train:2", "train:3"]),
        ("train-1-again-2", ["train:3"]),
    ]
    assert [row["sample_id"] for row in experience.rows] == [
        "train-1/train:1/0/0",
        "train-1/train:1/0/1",
        "train-1-again-1/train:2/0/0",
        "train-1-again-1/train:2/0/1",
        "train-1-again-2/train:3/0/0",
        "train-1-again-2/train:3/0/1",
    ]
    assert plain(experience) == {"accepted": 6, "rejected": 6}
    assert sum(len(group.trajectories) for group in experience.groups) == 12
    assert plain(again(1)[1]) == {"accepted": 4, "rejected": 6, "prompts_without_any": 1}


def test_over_epochs_a_prompt_is_one_prompt(tmp_path: Path):
    dataset = MadeDataset(tmp_path / "dataset.jsonl")
    rows = asked(tmp_path, 1)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        history = RunHistory(ledger, dataset)
        dataset.append(
            1, collected(rows, ("3+5=8", "4+4=8"), most_per_prompt=3, step=Step(1, 0, 0, history=history)).rows
        )
        second = collected(
            rows, ("4+4=8", "2+6=8", "1+7=8"), most_per_prompt=3, choose="first", step=Step(2, 0, 0, history=history)
        )
        assert (texts(second), plain(second)) == (["2+6=8"], {"accepted": 1, "duplicates": 1, "over_cap": 1})
        dataset.append(2, second.rows)
        third = collected(rows, ("0+8=8",), most_per_prompt=3, step=Step(3, 0, 0, history=history))
        assert (texts(third), plain(third)) == ([], {"over_cap": 1})


def test_a_prompt_that_has_enough_rows_of_earlier_epochs_is_not_sampled_again(tmp_path: Path):
    dataset, rows = MadeDataset(tmp_path / "dataset.jsonl"), asked(tmp_path, 1)
    dataset.append(1, [{"prompt_id": "train:1", "answer": "5+1=6"}])
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for enough, calls in ((1, 1), (2, 2)):
            rollout = Luckier()
            made = named("rft", prompts_per_step=1, samples=1, extra_rounds=1, enough=enough, threshold=2.0)
            step = Step(2, 0, 0, history=RunHistory(ledger, dataset))
            made.collect(Roles(rollout=rollout, reward=FunctionReward(verified)), Stream(rows, 0, shuffle=False), step)
            assert len(rollout.calls) == calls


def test_a_step_without_any_is_counted_and_goes_on(tmp_path: Path):
    experience = collected(asked(tmp_path, 2), ("3+6=9", "?"))
    assert (experience.rows, plain(experience)) == ((), {"rejected": 2, "unscored": 2, "prompts_without_any": 2})


def test_acceptance_by_difficulty(tmp_path: Path):
    lines = [f'{{"prompt": "q", "level": "{level}"}}' for level in ("easy", "hard", "hard")]
    rows = prompts(tmp_path / "p.jsonl", lines, fields={"level": "level"})
    answers = (("1+7=8", "2+6=8", "1+7=8", "?"), ("1+7=8", "0", "0", "0"), ("0", "0", "0", "0"))

    def told(**settings: Any) -> list[tuple[str, str]]:
        return difficulty_rows(
            {
                name: count
                for name, count in collected(rows, *answers, **settings).metrics.items()
                if name.startswith(PREFIX)
            }
        )

    assert told(most_per_prompt=1) == [
        ("prompts, above 75% accepted", "1: 100.0% of 3 samples; 2.00 different paths and 1.00 rows each"),
        ("prompts, up to 25% accepted", "1: 25.0% of 4 samples; 1.00 different paths and 1.00 rows each"),
        ("prompts, none accepted", "1: 0.0% of 4 samples; 0.00 different paths and 0.00 rows each"),
    ]
    assert told(difficulty="level") == [
        ("prompts, easy", "1: 100.0% of 3 samples; 2.00 different paths and 2.00 rows each"),
        ("prompts, hard", "2: 12.5% of 8 samples; 0.50 different paths and 0.50 rows each"),
    ]
    with pytest.raises(DataError, match=r"no field 'length', which method\.difficulty names"):
        told(difficulty="length")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "raft", "threshold": 0.5}, r"(?m)^threshold$\n.*Extra inputs are not permitted"),
        ({"name": "raft", "extra_rounds": 1}, r"(?m)^extra_rounds$\n.*Extra inputs are not permitted"),
        ({"enough": 2}, "enough: has no effect without extra_rounds"),
        ({"enough": 5, "extra_rounds": 1}, "5 rows of a prompt are never reached with most_per_prompt=4"),
        ({"path": "equation"}, "'equation' is not known"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        named(**{"name": "rft", **settings})


def test_rest_em_keeps_the_first_ten_texts_that_differ(tmp_path: Path):
    """Of twelve right answers, two of which are equal; rft keeps the four that differ most."""
    answers = ("0+8=8", "0+8=8", *(f"{number} of 8, so 8=8" for number in range(10)))
    kept = collected(asked(tmp_path, 1), answers, method="rest_em")
    assert texts(kept) == list(answers[:1] + answers[2:11])
    assert plain(kept) == {"accepted": 10, "duplicates": 1, "over_cap": 1}
    assert plain(collected(asked(tmp_path, 1), answers)) == {"accepted": 4, "duplicates": 1, "over_cap": 7}


def test_the_rows_read_back_as_the_very_tokens_that_were_sampled(tmp_path: Path):
    experience = collected(asked(tmp_path, 1), ("ü 3+5=8", "0"))
    MadeDataset(tmp_path / "dataset.jsonl").append(1, experience.rows)
    config = DatasetConfig(path=str(tmp_path / "dataset.jsonl"))
    (row,) = load_demonstrations(config, TOKENIZER, 100, strict=True, quarantine=None).rows
    kept = experience.groups[0].trajectories[0]
    assert (list(row.token_ids), list(row.loss_mask)) == (kept.token_ids, kept.loss_mask)
