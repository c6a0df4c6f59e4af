"""Forecasts that files, judges and answers hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlsys.cli import app
from rlsys.config.experiment import EvaluationConfig
from rlsys.errors import DataError
from rlsys.run.forecasts import Forecast, of_answers, of_file, of_judge, of_pairs
from rlsys.samples import Sample, Verdict


def test_pairs_tell_how_sure_and_whether_right():
    assert of_pairs([0.8, 0.3, 0.5]) == [Forecast(0.8, 1.0), Forecast(0.7, 0.0), Forecast(0.5, 0.5)]


def test_a_judge_is_asked_in_both_orders():
    """The first answer is the better one: 0.9 for it when shown first, 0.7 (1 - 0.3) when second."""
    one = Verdict("q/human/0", "human", ("a", "b"), None, "j", "", "", {}, 0.9, expected=1.0)
    two = replace(one, verdict_id="q/human/1", sample_ids=("b", "a"), value=0.3, expected=0.0)
    found = of_judge([one, two])
    (human,) = found["judge against people"]
    assert (human.probability, human.outcome) == pytest.approx((0.8, 1.0))
    assert found["judge on canaries"] == []


def test_answers_by_likelihood_and_by_vote():
    """Two of three say 4, which is right; each token has log-prob -0.1."""

    def answered(index: int, text: str, right: float) -> Sample:
        parts, ids = {"exact": right}, [1, 2, 3]
        return Sample(
            str(index), 1, "eval", "p", 0, index, "2+2", "4", text, "stop", right, None, parts, None, None, ids,
            [0, 1, 1], [0.0, -0.1, -0.1], [-1, 0, 0],
        )  # fmt: skip

    samples = [answered(0, "4", 1.0), answered(1, "4", 1.0), answered(2, "5", 0.0)]
    found = of_answers(samples, "exact", 1.0, EvaluationConfig())
    (vote,) = found["answers by vote"]
    assert (vote.probability, vote.outcome) == pytest.approx((2 / 3, 1.0))
    assert [one.outcome for one in found["answers by likelihood"]] == [1.0, 1.0, 0.0]
    assert found["answers by likelihood"][0].probability == pytest.approx(math.exp(-0.2))


def test_the_command_prints_a_table_and_writes(tmp_path: Path):
    file = tmp_path / "forecasts.jsonl"
    rows = [{"probability": 0.9, "outcome": n % 2} for n in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["calibration", str(file), "--output", str(tmp_path / "c.json")]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "overconfident" in done.output
    assert json.loads((tmp_path / "c.json").read_text())[str(file)]["ece"] == pytest.approx(0.4)


def test_a_bad_line_is_named(tmp_path: Path):
    file = tmp_path / "forecasts.jsonl"
    file.write_text('{"probability": 0.9, "outcome": 1}\n{"probability": 1.9, "outcome": 1}\n')
    with pytest.raises(DataError, match=r"forecasts\.jsonl:2: probability and outcome lie between 0 and 1"):
        of_file(file)
    file.write_text('{"p": 0.9}\n')
    with pytest.raises(DataError, match=r"forecasts\.jsonl:1: wanted"):
        of_file(file)
