from pathlib import Path
from typing import Any

import pytest

from rlsys.config.experiment import DataConfig
from rlsys.data.load import Demonstration
from rlsys.data.mixture import WithPretraining, build_source
from rlsys.data.report import Loaded, Report
from rlsys.data.stream import Source, Stream
from rlsys.methods.shared.difficulty import COLUMNS
from rlsys.run.folder import RunDir
from rlsys.run.state import State
from rlsys.run.summary import summarize, summary_rows
from rlsys.samples import Verdict


def rows(count: int) -> list[Demonstration]:
    return [Demonstration(f"train:{i}", (0, 1), (0, 1)) for i in range(1, count + 1)]


def mixture() -> Source[Demonstration]:
    """Of 30 rows and 10 rows that weigh twice: 30 and 20 of 50, or 3 to 2. A hundred rows are drawn."""
    data = DataConfig.model_validate(
        {"train": {"path": "big.jsonl"}, "also": [{"path": "small.jsonl", "split": "dev", "weight": 2}]}
    )
    loaded = [Loaded(rows(30), Report("big.jsonl", "train")), Loaded(rows(10), Report("small.jsonl", "dev"))]
    source = build_source(loaded, data, seed=0)
    source.take(100)
    return source


def summary(tmp_path: Path, source: Source[Any], **state: Any) -> dict[str, Any]:
    reports = [
        Report("big.jsonl", "train", read=33, kept=30, too_long=2, quarantined=1),
        Report("small.jsonl", "dev", read=10, kept=10),
    ]
    return summarize(RunDir(tmp_path), State(**state), reports, source, {"policy": "abc"}, wall_seconds=9.0)


def test_the_balance_of_a_mixture_is_in_the_summary_and_in_the_table(tmp_path: Path):
    found = summary(tmp_path, mixture())
    big, small = found["mixture"]
    assert (big["name"], big["rows"], big["share"]) == ("0/big.jsonl:train", 30, pytest.approx(0.6))
    assert (small["name"], small["rows"], small["share"]) == ("1/small.jsonl:dev", 10, pytest.approx(0.4))
    assert big["drawn"] + small["drawn"] == 100
    assert abs(big["drawn"] - 60) < 15  # three standard deviations of a binomial of 100 and 0.6
    table = dict(summary_rows(found))
    drawn = small["drawn"]
    assert (
        table["drawn from 1/small.jsonl:dev"]
        == f"{drawn} rows (40.0% of all asked for), {drawn / 10:.2f} epochs of its 10"
    )
    assert table["data big.jsonl"] == "3 of 33 left out: 2 too long, 1 unusable"
    assert "data small.jsonl" not in table


def test_pre_training_rows_beside_a_mixture_do_not_hide_its_balance(tmp_path: Path):
    beside = WithPretraining(mixture(), Stream(rows(3), 0, shuffle=True))
    assert summary(tmp_path, beside)["mixture"] == summary(tmp_path, mixture())["mixture"]


def test_a_single_set_has_no_balance(tmp_path: Path):
    found = summary(tmp_path, Stream(rows(3), 0, shuffle=True))
    assert found["mixture"] is None
    assert not any("drawn from" in label for label, _ in summary_rows(found))


def test_the_table_says_which_step_the_model_is_of_and_what_was_measured(tmp_path: Path):
    source = Stream(rows(3), 0, shuffle=True)
    before, after = {"eval/nll": 2.5, "eval/perplexity": 12.182}, {"eval/nll": 1.0, "eval/perplexity": 2.718}
    table = dict(summary_rows(summary(tmp_path, source, step=60, best_step=40, before=before, after=after)))
    assert table["steps"] == "60; the model is that of step 40, the best"
    assert table["held-out nll"] == "2.500 -> 1.000"
    assert table["held-out perplexity"] == "12.182 -> 2.718"
    assert dict(summary_rows(summary(tmp_path, source, step=60)))["steps"] == "60"


def test_pass_at_1_is_told_beside_an_equal_accuracy(tmp_path: Path):
    after = {
        "eval/accuracy_sampled": 0.25,
        "eval/pass@1_sampled": 0.25,
        "eval/reward_sampled": 0.25,
        "eval/maj@8_sampled": 0.5,
    }
    labels = dict(summary_rows(summary(tmp_path, Stream(rows(3), 0, shuffle=True), after=after)))
    found = {label: value for label, value in labels.items() if label.startswith("held-out")}
    assert found == {
        "held-out accuracy, sampled": "0.250",
        "held-out maj@8, sampled": "0.500",
        "held-out pass@1, sampled": "0.250",
    }


def test_counts_by_difficulty_are_rows_of_their_own(tmp_path: Path):
    by = {
        f"dataset/difficulty/hard/{name}": count
        for name, count in zip(COLUMNS, (4.0, 40.0, 6.0, 5.0, 3.0), strict=True)
    }
    table = dict(
        summary_rows(
            summary(
                tmp_path, Stream(rows(3), 0, shuffle=True), counts={"dataset/over_cap": 2.0, "dataset/empty": 0.0, **by}
            )
        )
    )
    assert table["data set"] == "2 over cap"
    assert table["prompts, hard"] == "4: 15.0% of 40 samples; 1.25 different paths and 0.75 rows each"


def compared(name: str, first: float | None, second: float | None, **more: Any) -> list[Verdict]:
    values = (first, second)
    return [
        Verdict(
            f"{name}/compare/{order}",
            "compare",
            ("a", "b"),
            None,
            "j",
            "[]",
            "",
            {},
            value,
            None if value else "refused: no",
            **more,
        )
        for order, value in enumerate(values)
    ]


def test_what_the_judge_was_like_is_in_the_summary_and_in_the_table(tmp_path: Path):
    verdicts = [
        *compared("q", 0.9, 0.6, prompt_tokens=30, completion_tokens=1, seconds=2.0),
        *compared("r", None, None, seconds=2.0),
    ]
    reports, source = [Report("big.jsonl", "train", read=1, kept=1)], Stream(rows(3), 0, shuffle=True)
    found = summarize(RunDir(tmp_path), State(canary_alarm=True), reports, source, {}, 9.0, verdicts)
    assert found["judge"]["kinds"] == {"compare": 4}
    assert found["judge"]["canary_alarm"] is True
    table = dict(summary_rows(found))
    assert table["judge"] == "4 verdicts, 60 tokens read, 2 written"
    assert table["judge's order bias"] == "+0.250 for the answer shown first, same position won twice in 100.0%"
    assert table["judge gave no answer"] == "50.0%: 2 refused"
    assert table["judge's latency"] == "2 s mean, 2 s for 95%"
    assert "don't trust its labels" in table["canary alarm"]
    assert "judge's length bias" not in table


def test_without_a_judge_nothing_is_said_of_one(tmp_path: Path):
    found = summary(tmp_path, Stream(rows(3), 0, shuffle=True))
    assert found["judge"] is None
    assert not any("judge" in label for label, _ in summary_rows(found))
    del found["judge"]  # as an older version wrote it
    assert not any("judge" in label for label, _ in summary_rows(found))


def test_the_win_rate_is_named_after_what_it_is_against(tmp_path: Path):
    found = summary(tmp_path, Stream(rows(3), 0, shuffle=True), after={"eval/win_rate_sampled": 0.75})
    assert dict(summary_rows(found))["held-out win rate against the start, sampled"] == "0.750"
