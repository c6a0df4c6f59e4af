"""Ratios, medians and verdicts of the benchmarks, against numbers worked out by hand."""

from __future__ import annotations

import json
from itertools import count

import pytest

from benchmarks.overhead import outside_work
from benchmarks.result import Aim, Result, interleave
from benchmarks.table import number, row


def result(ours: tuple[float, ...], baseline: tuple[float, ...], aim: Aim | None = None) -> Result:
    return Result("trainer", "25m", "ours / theirs", "tokens/s", ours, baseline, aim)


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    """The machine became four times slower in the middle of the third pair: the other pairs decide."""
    measured = result((90.0, 80.0, 88.0), (100.0, 100.0, 25.0))
    assert measured.ratio == 0.9
    assert measured.spread == (0.8, 3.52)


def test_of_an_even_number_of_pairs_the_middle_two_are_averaged() -> None:
    assert result((1.0, 2.0, 3.0, 10.0), (1.0, 1.0, 1.0, 1.0)).ratio == 2.5


@pytest.mark.parametrize(
    ("ours", "aim", "verdict"),
    [
        (0.95, Aim(0.95, more_is_better=True), "met"),
        (0.949, Aim(0.95, more_is_better=True), "missed"),
        (4.0, Aim(4.0, more_is_better=False), "met"),
        (4.01, Aim(4.0, more_is_better=False), "missed"),
        (100.0, None, "no aim"),
    ],
)
def test_the_verdict_is_of_the_ratio_itself_not_of_what_the_table_rounds_it_to(
    ours: float, aim: Aim | None, verdict: str
) -> None:
    assert result((ours,), (1.0,), aim).verdict == verdict


def test_measurements_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="2 measurements against 1"):
        result((1.0, 2.0), (1.0,))
    with pytest.raises(ValueError, match="must come in pairs"):
        result((), ())


def test_both_sides_are_measured_in_turn() -> None:
    clock = count(1)
    assert interleave(lambda: float(next(clock)), lambda: float(next(clock)), 3) == ((1.0, 3.0, 5.0), (2.0, 4.0, 6.0))


def test_a_result_survives_json_and_keeps_every_measurement() -> None:
    measured = result((90.0, 80.0, 88.0), (100.0, 100.0, 100.0), Aim(0.9, more_is_better=True))
    record = json.loads(json.dumps(measured.record()))
    assert (record["ratio"], record["spread"], record["verdict"]) == (0.88, [0.8, 0.9], "missed")
    assert (record["ours_median"], record["baseline_median"]) == (88.0, 100.0)
    assert Result.restore(record) == measured


def test_a_row_shows_the_aim_beside_the_ratio() -> None:
    measured = result((9000.0, 8000.0, 8800.0), (10000.0, 10000.0, 10000.0), Aim(0.9, more_is_better=True))
    expected = (
        "trainer",
        "25m",
        "ours / theirs",
        "8,800 tokens/s",
        "10,000 tokens/s",
        "0.88",
        "0.8 - 0.9",
        "≥ 0.9",
        "missed",
    )
    assert row(measured) == expected
    assert row(result((2.0,), (1.0,)))[-2:] == ("-", "no aim")


@pytest.mark.parametrize(
    ("value", "text"), [(0.03049, "0.0305"), (12.345, "12.3"), (99.96, "100"), (1234567.0, "1,234,567")]
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_overhead_is_what_the_stages_leave_of_the_time_between_two_records() -> None:
    """The first record only marks where the second step begins. The log stage and all that no stage covers are
    overhead."""
    records = [
        {"step": 1, "time": 100.0, "time/collect": 9.0, "time/learn": 9.0, "time/sync": 9.0},
        {"step": 2, "time": 104.0, "time/collect": 2.0, "time/learn": 1.5, "time/sync": 0.25, "time/log": 0.1},
        {"step": 3, "time": 106.0, "time/collect": 1.0, "time/learn": 0.5, "time/sync": 0.0},
    ]
    assert outside_work(records) == ((0.25, 0.5), (4.0, 2.0))
