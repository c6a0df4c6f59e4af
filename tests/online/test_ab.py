"""A/B logs: what they say, what is wrong with them, and bounds that hold at every look."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from rlsys.cli import app
from rlsys.errors import DataError
from rlsys.online.experiment import Variant, analysed, mismatch, welch
from rlsys.online.log import read
from rlsys.online.sequential import FEWEST, half_width, optimal_rho, sequence


def jsonl(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def assigned(unit: str, variant: str, time: float = 0, **more: Any) -> dict[str, Any]:
    return {"unit": unit, "variant": variant, "time": time, **more}


def test_what_is_wrong_with_units_is_named(tmp_path: Path):
    log = read(
        jsonl(
            tmp_path / "log.jsonl",
            assigned("a", "old", outcome=1),
            assigned("b", "new", 5),
            {"unit": "b", "time": 6, "outcome": True},
            {"unit": "b", "time": 9, "outcome": 0},
            assigned("both", "old", outcome=1),
            assigned("both", "new"),
            assigned("again", "new"),
            assigned("again", "new", 1, outcome=3),
            assigned("early", "new", 5),
            {"unit": "early", "time": 4, "outcome": 1},
            {"unit": "lost", "time": 4, "outcome": 1},
            assigned("silent", "old"),
        )
    )
    assert [(one.unit, one.variant, one.time, one.outcome) for one in log.units] == [
        ("a", "old", 0, 1.0),
        ("again", "new", 1, 3.0),
        ("b", "new", 9, 0.5),
    ]
    assert log.assigned == {"old": 2, "new": 3}
    assert list(log.told()) == [
        "1 units are assigned several times to one variant, which counts once: 'again'",
        "1 units are in several variants, and are left out: 'both'",
        "1 units have an outcome and no assignment, and are left out: 'lost'",
        "1 units have an outcome before their assignment, and are left out: 'early'",
        "1 units have several outcomes, whose mean counts: 'b'",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"unit": "a", "time": 0}], "log.jsonl:1: wanted variant (an assignment), outcome, or both"),
        ([{"variant": "x", "time": 0}], "log.jsonl:1: wanted unit, a text or a whole number"),
        ([assigned("a", "x"), {"unit": "a", "time": "2026", "outcome": 1}], "log.jsonl:2: time is '2026', and earlier"),
        ([assigned("a", "x", outcome="good")], "log.jsonl:1: outcome is 'good'; wanted a finite number"),
        ([assigned("a", "x")], "log.jsonl: no unit has one variant and one outcome"),
    ],
)
def test_a_bad_log_is_one_line(tmp_path: Path, rows: list[dict[str, Any]], message: str):
    with pytest.raises(DataError) as error:
        read(jsonl(tmp_path / "log.jsonl", *rows))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_welch_and_chi_square_agree_with_scipy():
    chance = np.random.default_rng(3)
    old, new = chance.normal(0, 1, 40), chance.normal(0.4, 2, 25)
    variants = [Variant("", len(own), len(own), own.mean(), own.std(ddof=1)) for own in (new, old)]
    (low, high), p = welch(*variants, alpha=0.05)
    known: Any = stats.ttest_ind(new, old, equal_var=False)
    assert p == pytest.approx(known.pvalue)
    assert (low, high) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert mismatch({"a": 460, "b": 540}, {"a": 1, "b": 1}) == pytest.approx(stats.chisquare([460, 540]).pvalue)
    # By hand: (4600 - 4500)^2 / 4500 + (400 - 500)^2 / 500 = 2.2222 + 20, and sqrt(22.2222) = 4.714 deviations.
    by_hand = 2 * stats.norm.sf(math.sqrt(100**2 / 4500 + 100**2 / 500))
    assert mismatch({"a": 4600, "b": 400}, {"a": 9, "b": 1}) == pytest.approx(by_hand)


def test_the_width_by_hand_and_the_best_rho():
    """At t = 1 and rho = 1: sqrt(2 * 2 / 1 * log(sqrt(2) / 0.05)) = sqrt(4 * 3.34233) = 3.65641."""
    one = np.ones(1)
    assert half_width(one, one, 0.05, 1.0)[0] == pytest.approx(3.65641, abs=1e-4)
    at = np.array([500.0])
    best = half_width(at, one, 0.05, optimal_rho(500, 0.05))[0]
    narrowest = min(half_width(at, one, 0.05, rho)[0] for rho in np.geomspace(0.005, 1, 400))
    assert best == pytest.approx(narrowest, rel=1e-3)


def test_the_difference_is_that_of_means_and_knows_the_share():
    """Outcomes without noise around a large level: what was seen before takes the level out."""
    treated = np.tile([True, True, True, False], 300)
    bounds = sequence((100 + 2.0 * treated).tolist(), treated.tolist(), 0.75)
    assert bounds[-1, 0] == pytest.approx(2.0, abs=0.1)
    assert np.isnan(bounds[4 * FEWEST - 2]).all()
    assert not np.isnan(bounds[4 * FEWEST]).any()


def looks(runs: int, units: int, effect: float, share: float) -> tuple[int, int, int]:
    """Of so many experiments, in how many 0 is ever left out, the truth is ever left out, and 0 is ever left out by the
    usual interval, when one looks after every unit."""
    chance, ever, missed, usual = np.random.default_rng(11), 0, 0, 0
    for _ in range(runs):
        treated = chance.random(units) < share
        values = (chance.random(units) < 0.3 + effect * treated).astype(float)
        bounds = sequence(values.tolist(), treated.tolist(), share)[2 * FEWEST :]
        ever += bool(((bounds[:, 1] > 0) | (bounds[:, 2] < 0)).any())
        missed += bool(((bounds[:, 1] > effect) | (bounds[:, 2] < effect)).any())
        ones, zeros = np.cumsum(treated), np.cumsum(~treated)
        high, low = np.cumsum(values * treated) / ones.clip(1), np.cumsum(values * ~treated) / zeros.clip(1)
        error = np.sqrt(high * (1 - high) / ones.clip(1) + low * (1 - low) / zeros.clip(1))
        usual += bool((abs(high - low) > 1.96 * error)[2 * FEWEST :].any())
    return ever, missed, usual


def test_looking_after_every_unit_gives_no_more_false_alarms_than_agreed():
    """Of 400 experiments without an effect at most 5% alarm (20; the usual interval does in more than a quarter)."""
    ever, missed, usual = looks(400, 2000, 0.0, 0.5)
    assert ever == missed
    assert ever <= 20
    assert usual > 100


def test_the_truth_lies_within_at_all_times_and_an_effect_is_found():
    ever, missed, _ = looks(300, 3000, 0.1, 0.3)
    assert missed <= 15
    assert ever > 240


def test_the_command_tells_and_writes(tmp_path: Path):
    chance = np.random.default_rng(5)
    rows = [
        assigned(
            f"u{n}", name := ("new" if n % 2 else "old"), n, outcome=int(chance.random() < (0.6, 0.3)[name == "old"])
        )
        for n in range(1000)
    ]
    log = jsonl(tmp_path / "log.jsonl", *rows, assigned("u0", "new"))
    arguments = ["ab", str(log), "--control", "old", "--output", str(tmp_path / "ab.json")]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "1 units are in several variants, and are left out: 'u0'" in done.output
    assert "0 was outside first after" in done.output
    found = json.loads((tmp_path / "ab.json").read_text())
    (one,) = found["comparisons"]
    low, high = one["at_any_time"]
    assert low < one["interval"][0] < 0.3 < one["interval"][1] < high, "wider, for it holds at every look"


def test_a_lost_share_is_called_out(tmp_path: Path):
    rows = [assigned(f"u{n}", "new" if n % 3 == 0 else "old", n, outcome=n % 2) for n in range(600)]
    found = analysed(read(jsonl(tmp_path / "log.jsonl", *rows)), "old", None)
    assert found.mismatch == pytest.approx(stats.chisquare([200, 400]).pvalue)
    equal = analysed(read(tmp_path / "log.jsonl"), "old", {"old": 2.0, "new": 1.0})
    assert equal.mismatch == pytest.approx(1.0)
    with pytest.raises(DataError, match="no unit is in the control 'od'"):
        analysed(read(tmp_path / "log.jsonl"), "od", None)
