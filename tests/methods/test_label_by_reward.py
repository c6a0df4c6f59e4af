from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.fakes import FunctionReward
from support.scripted_sampler import STEP, TOKENIZER, Scripted, asked, counts, length, prompts

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import SamplingConfig
from rlsys.data.load import load_comparisons
from rlsys.data.stream import Stream
from rlsys.methods.base import Experience, Step
from rlsys.methods.label_by_reward import Config, Method
from rlsys.roles import Roles
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Prompt


def collected(rows: list[Prompt], *answers: tuple[str, ...], step: Step = STEP, **settings: object) -> Experience:
    config = Config.model_validate({"prompts_per_step": len(rows), "answers": len(answers[0]), **settings})
    method = Method(config, SamplingConfig(max_tokens=16), 0)
    roles = Roles(rollout=Scripted(*answers), reward=FunctionReward(length))
    return method.collect(roles, Stream(rows, 0, shuffle=False), step)


def test_a_pair_says_which_answer_is_better_and_where_both_came_from(tmp_path: Path):
    experience = collected(asked(tmp_path, 1), ("ab", "abc"))
    assert experience.rows == (
        {
            "prompt": "q",
            "prompt_id": "train:1",
            "chosen": "abc",
            "rejected": "ab",
            "chosen_score": 3.0,
            "rejected_score": 2.0,
            "chosen_id": "train-1/train:1/0/1",
            "rejected_id": "train-1/train:1/0/0",
        },
    )
    assert len(experience.groups[0].trajectories) == 2  # for the ledger
    assert counts(experience) == {"rows": 1}


def test_what_says_nothing_makes_no_row_and_is_counted(tmp_path: Path):
    answers = (("ab", "cd"), ("ab", "ab"), ("?", "ab"), ("?", "?"), ("", "ab"), ("a", "bcd"), (" ", ""))
    experience = collected(asked(tmp_path, 7), *answers)
    assert [(row["chosen"], row["rejected"]) for row in experience.rows] == [("bcd", "a")]
    assert counts(experience) == {"rows": 1, "tied": 1, "equal_texts": 1, "unscored": 2, "empty": 2}
    assert experience.metrics["reward/abstained"] == 3


def test_a_ranking_is_best_first_without_repetitions_and_abstentions(tmp_path: Path):
    experience = collected(asked(tmp_path, 1), ("a", "abcd", "?", "bcd", "a", "xyz"))
    (row,) = experience.rows
    assert (row["answers"], row["grades"], row["scores"]) == (
        ["abcd", "bcd", "xyz", "a"],
        [4.0, 3.0, 3.0, 1.0],
        [4.0, 3.0, 3.0, 1.0],
    )
    assert row["sample_ids"] == [f"train-1/train:1/0/{index}" for index in (1, 3, 5, 0)]


def test_the_annotator_is_bradley_and_terry_s(tmp_path: Path):
    # Scores 3 and 1 at temperature 2: the better one with probability sigmoid(1) = 0.7311; of 4000 pairs that is 2924
    # +- 28.
    experience = collected(asked(tmp_path, 4000), ("abc", "a"), label_temperature=2.0)
    better = sum(row["chosen"] == "abc" for row in experience.rows)
    assert better == pytest.approx(4000 / (1 + math.exp(-1)), abs=4 * 28)
    assert counts(experience) == {"rows": 4000, "mislabelled": 4000 - better}


def test_rankings_follow_plackett_and_luce(tmp_path: Path):
    # Worths e^1, e^2, e^3: the best is first with 20.086 / 30.193 = 0.6652; then the second of the rest with 7.389 /
    # 10.107 = 0.7311. All in order: 0.4864, of 4000 1946 +- 32.
    experience = collected(asked(tmp_path, 4000), ("a", "ab", "abc"), label_temperature=1.0)
    orders = Counter(tuple(row["scores"]) for row in experience.rows)
    assert orders[3.0, 2.0, 1.0] == pytest.approx(0.4864 * 4000, abs=4 * 32)
    assert sum(count for order, count in orders.items() if order[0] == 3.0) == pytest.approx(0.6652 * 4000, abs=4 * 30)
    assert all(row["grades"] == sorted(row["grades"], reverse=True) for row in experience.rows)


def test_label_noise_turns_a_share_of_the_pairs_round_and_nothing_else(tmp_path: Path):
    rows = asked(tmp_path, 2000)
    clean, noisy = (
        collected(rows, ("abc", "a"), label_temperature=2.0, label_noise=noise).rows for noise in (0.0, 0.1)
    )
    turned = [(a, b) for a, b in zip(clean, noisy, strict=True) if a != b]
    assert len(turned) == pytest.approx(200, abs=4 * 13.4)  # sqrt(2000 x 0.1 x 0.9) = 13.4
    assert all((a["chosen_id"], a["rejected_id"]) == (b["rejected_id"], b["chosen_id"]) for a, b in turned)
    with pytest.raises(ValidationError, match="label_noise: turns pairs round"):
        collected(rows, ("abc", "ab", "a"), label_noise=0.1)


def test_labels_depend_on_seed_prompt_and_epoch_alone(tmp_path: Path):
    rows, answers = asked(tmp_path, 64), ("abc", "a")

    def labels(rows: list[Prompt], step: Step) -> dict[str, str]:
        return {
            row["prompt_id"]: row["chosen"] for row in collected(rows, answers, step=step, label_temperature=2.0).rows
        }

    first = labels(rows, STEP)
    assert labels(rows[::-1], Step(number=7, version=0, seed=0)) == first
    assert labels(rows, Step(number=1, version=0, seed=1)) != first
    method = Method(Config(prompts_per_step=64, label_temperature=2.0), SamplingConfig(max_tokens=16), 0)
    roles, stream = Roles(rollout=Scripted(answers), reward=FunctionReward(length)), Stream(rows, 0, shuffle=False)
    epochs = [{row["prompt_id"]: row["chosen"] for row in method.collect(roles, stream, STEP).rows} for _ in range(2)]
    assert epochs[0] == first
    assert epochs[1] != first


CHAT = (
    '{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, '
    '{"role": "user", "content": "three"}]}'
)


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ('{"prompt": "pränk"}', {}),
        ('{"prompt": "adk"}', {"chat_template": "never"}),
        ('{"prompt": "adk"}', {"system_prompt": "Be brief."}),
        (CHAT, {}),
    ],
)
def test_the_rows_read_back_as_the_very_tokens_that_were_sampled(tmp_path: Path, line: str, settings: dict[str, Any]):
    experience = collected(prompts(tmp_path / "prompts.jsonl", [line], **settings), ("ü ", "a b\n"))
    MadeDataset(tmp_path / "dataset.jsonl").append(1, experience.rows)
    config = DatasetConfig(path=str(tmp_path / "dataset.jsonl"), **settings)
    (comparison,) = load_comparisons(config, TOKENIZER, 100, strict=True, quarantine=None).rows
    worse, better = experience.groups[0].trajectories
    for answer, sampled in zip(comparison.answers, (better, worse), strict=True):
        assert list(answer.token_ids) == sampled.token_ids
        assert list(answer.loss_mask) == sampled.loss_mask
    assert comparison.grades == (1.0, 0.0)


def test_rankings_read_back(tmp_path: Path):
    MadeDataset(tmp_path / "dataset.jsonl").append(1, collected(asked(tmp_path, 1), ("a", "abcd", "bc")).rows)
    (comparison,) = load_comparisons(
        DatasetConfig(path=str(tmp_path / "dataset.jsonl")), TOKENIZER, 100, strict=True, quarantine=None
    ).rows
    assert comparison.grades == (4.0, 2.0, 1.0)
    assert [
        bytes(answer.token_ids[-len(text) - 1 : -1])
        for answer, text in zip(comparison.answers, ("abcd", "bc", "a"), strict=True)
    ] == [
        b"abcd",
        b"bc",
        b"a",
    ]
