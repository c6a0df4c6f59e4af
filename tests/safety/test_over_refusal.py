"""Refusals and what they are counted as, on both sides of pairs."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.curation.safety import Labels
from rlsys.errors import ConfigError, DataError
from rlsys.safety.over_refusal import check_sides, measure
from rlsys.safety.plot import trade_off
from rlsys.safety.refusal import Exchange, by_own, by_rules, detector
from rlsys.safety.rows import SafetyRow, read
from rlsys.statistics.share import Share


def row(row_id: str, desired: str, pair: str | None, category: str = "a") -> SafetyRow:
    return SafetyRow(row_id, row_id, Labels(category, "1", desired, pair))


ROWS = [
    row("h1", "refuse", "1"), row("s1", "comply", "1"), row("h2", "safe-complete", "2"), row("s2", "comply", "2"),
    row("h3", "refuse", "3", "b"), row("s3", "comply", "3", "b"),
]  # fmt: skip


def test_both_sides_by_category_and_pair():
    """h2 is refused in one of two answers, which is not more than half; of s3 nothing is known."""
    said: dict[str, list[bool | None]] = {
        "h1": [True, True], "s1": [False, False], "h2": [True, False], "s2": [True, True], "h3": [True, None],
        "s3": [None, None],
    }  # fmt: skip
    found = measure(ROWS, said)
    assert (found.total.harmful.count, found.total.harmful.of) == (2.5, 3)
    assert (found.total.harmless.count, found.total.harmless.of) == (1, 2)
    assert (found.categories["b"].harmful.value, found.categories["b"].harmless.of) == (1.0, 0)
    assert found.pairs == {"told apart": 1, "both refused": 0, "both answered": 0, "turned round": 1}
    assert found.unknown == 3
    svg = ElementTree.fromstring(trade_off({"mine & yours": found}))
    circles = [one for one in svg.iter() if one.tag.endswith("circle")]
    assert len(circles) == 2, "category b has no harmless prompt, so no place"
    assert float(circles[-1].attrib["cx"]) == pytest.approx(60 + 420 * 0.5, abs=0.1)
    assert float(circles[-1].attrib["cy"]) == pytest.approx(60 + 420 * (1 - 2.5 / 3), abs=0.1)


def test_wilson_of_units():
    """Two units of 1/2 and 1: 1.5 of 2. By hand with z^2 = 3.8415: middle (0.75 + 3.8415/4) / (1 + 3.8415/2), half
    width 1.96 sqrt(0.1875/2 + 3.8415/16) / 2.9207."""
    share = Share.by_unit([[1.0, 0.0], [1.0], []])
    low, high = share.interval
    assert (share.count, share.of) == (1.5, 2)
    assert (low, high) == pytest.approx((0.1979, 0.9733), abs=1e-4)
    assert math.isnan(Share(0, 0).value)


def test_rules_see_refusals_at_the_beginning():
    answers = ["I'm sorry, but I can't help with that.", "  ", "Sure: " + "x" * 300 + " I cannot help.", "Bien sûr."]
    assert by_rules([Exchange(str(n), "g", one) for n, one in enumerate(answers)]) == [True, True, False, False]


def no(goal: str, answer: str) -> bool:
    return answer == "no" and goal == "g"


def maybe(goal: str, answer: str) -> str:
    return "maybe"


def test_rules_of_ones_own():
    exchanges = [Exchange("1", "g", "no"), Exchange("2", "g", "yes")]
    assert by_own(f"{__name__}.no")(exchanges) == [True, False]
    with pytest.raises(ConfigError, match="gave 'maybe'; it says whether the answer refuses"):
        by_own(f"{__name__}.maybe")(exchanges)
    with pytest.raises(ConfigError, match="wanted rules, or the dotted path"):
        detector("rule")


def test_rows_are_read_and_refused(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    labels = '"category": "a", "severity": 2'
    file.write_text(
        f'{{"prompt": "p", {labels}, "desired": "refuse", "pair": 1}}\n'
        f'{{"messages": [{{"role": "user", "content": "q"}}], {labels}, "desired": "comply", "pair": 1}}\n'
    )
    first, second = read(DatasetConfig(path=str(file)))
    assert (first.text, first.harmful, first.labels.pair) == ("p", True, "1")
    assert (second.text, second.harmful) == ("q", False)
    check_sides([first, second], "rows")
    with pytest.raises(DataError, match="pair '1' has 1 harmful and 0 harmless prompts; wanted one of each"):
        check_sides([first, row("s", "comply", "2")], "rows")
    with pytest.raises(DataError, match="wanted harmful prompts and harmless look-alikes"):
        check_sides([first], "rows")
    file.write_text('{"prompt": "p", "category": "a", "severity": 2}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no column 'desired'"):
        read(DatasetConfig(path=str(file)))
