"""Equality of final answers, against labels."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import pytest
from support.answer_cases import CASES

from rlsys.answers.equal import NeedsAlgebra, equal, truth_problem
from rlsys.answers.form import read
from rlsys.answers.number import Closeness
from rlsys.answers.place import final_answer
from rlsys.config.answers import AnswerPlaces

REAL = Path("../shared/data/gsm8k")
RULE = AnswerPlaces()


def quickly(truth: str, response: str) -> bool | None:
    """None where algebra is needed."""
    found = final_answer(response, RULE, truth)
    try:
        return found is not None and equal(truth, found)
    except NeedsAlgebra:
        return None


def test_a_plain_case_takes_at_most_5_ms():
    took = []
    for truth, response, right in (row for rows in CASES.values() for row in rows):
        if "\\boxed" in truth:  # a worked solution, which rewards cut first
            continue
        read.cache_clear()
        began = time.perf_counter()
        found = quickly(truth, response)
        took.append(time.perf_counter() - began)
        assert found in (right, None), (truth, response)
    assert len(took) > 300
    assert median(took) <= 0.005


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_own_solutions_of_gsm8k_are_right(split: str):
    if not REAL.is_dir():
        pytest.skip("real data is not beside the repository (../shared/data/gsm8k)")
    rows = [json.loads(line)["answer"] for line in (REAL / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == {"train": 7473, "test": 1319}[split]
    truths = [row.rpartition("####")[2].strip() for row in rows]
    assert [truth for truth in truths if truth_problem(truth, RULE)] == []
    assert [row for row, truth in zip(rows, truths, strict=True) if not quickly(truth, row)] == []
    others = [str(int(truth.replace(",", "")) + 1) for truth in truths]
    assert [row for row, other in zip(rows, others, strict=True) if quickly(other, row)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is missing"),
        ("", "is empty"),
        ("  \n", "is empty"),
        ("...", "holds neither letters nor digits"),
        (r"\frac{", "has a bracket that is not closed"),
        ("(1, 2", "has a bracket that is not closed"),
        ("x +", "is no whole formula"),
        ("3 4", "is no whole formula"),
        (r"\foo{3}", r"holds \foo, which is not known"),
        (r"10^{10^{10}}", "holds a power of powers, which is not computed"),
        ("2^{1000000}", "holds a power too large to compute"),
        ("x^{1000000}", "holds a power too large to compute"),
        ("5000!", "holds a factorial too large to compute"),
        ("9" * 5000, "has 5000 characters"),
        (r"\sum_{i=1}^{n} i", r"holds \sum, which is not computed"),
        (
            "She sold 48/2 = 24 clips in May.\nThen she sold some more.\n#### 72",
            "say where its answer is with answer_after",
        ),
        (r"thus \boxed{}", "is empty"),
    ],
)
def test_ground_truths_that_can_not_be_compared_with(text: str | None, problem: str):
    found = truth_problem(text, RULE)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize(
    "text",
    ["18", "1,000", "Monday", "C", r"\frac{1}{2}", "x^2+1", "New York", "1\\,000", "Thus 3.\n\\boxed{4}", "10:15 p.m."],
)
def test_ground_truths_that_can(text: str):
    assert truth_problem(text, RULE) is None


@pytest.mark.parametrize(
    ("truth", "response", "tolerance", "rounded", "right"),
    [
        ("100", "100.9", 0.01, True, False),
        ("100", "100.9", 0.01, False, True),  # a measurement within 1%
        ("100", "101.1", 0.01, False, False),
        ("100", "101", 0.01, False, False),  # both exact
        ("2/3", "0.67", 0.01, True, True),
        ("2/3", "0.66", 0.01, True, True),  # cut off
        ("2/3", "0.65", 0.05, True, False),
        ("2/3", "0.6667", 0.0, True, False),
        ("2/3", "0.6667", 4e-5, True, False),  # off by 5.0e-5
        ("2/3", "0.6667", 6e-5, True, True),
    ],
)
def test_tolerance(truth: str, response: str, tolerance: float, rounded: bool, right: bool):
    assert equal(truth, response, Closeness(tolerance, rounded)) is right
