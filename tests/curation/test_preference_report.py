"""What is wrong with comparisons as a whole, worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rlsys.curation.preference_report import Share, judged, report
from rlsys.curation.settings import PreferenceReportConfig
from rlsys.curation.view import View

COLUMNS = PreferenceReportConfig(annotator="who", position="place", time="at", slices=2)


def rows(*judgements: tuple[str, str, str, dict[str, Any]]) -> list[Any]:
    return [
        (number, judged(View("comparison", prompt, (chosen, rejected)), columns, COLUMNS))
        for number, (prompt, chosen, rejected, columns) in enumerate(judgements)
    ]


def test_wilsons_interval():
    """Of 10 cases 8: (0.490, 0.943), as in Brown, Cai and DasGupta (2001)."""
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert math.isnan(Share(0, 0).value)
    assert str(Share(0, 0)) == "none"


def test_length_position_and_drift():
    found = report(
        rows(
            ("p", "long", "x", {"place": 0, "at": 1}),
            ("q", "long", "x", {"place": 0, "at": 2}),
            ("r", "x", "long", {"place": 1, "at": 3}),
            ("s", "x", "y", {"at": 4}),
        ),
        COLUMNS,
    )
    assert (found.longer, found.first) == (Share(2, 3), Share(2, 3))
    assert found.chars == (2.5, 1.75)
    assert [(begin, longer) for begin, longer, _ in found.slices] == [("1", Share(2, 2)), ("3", Share(0, 1))]
    assert found.repeated == 0


def test_agreement_and_conflicts():
    """Of three judgements on one pair two agree: of the three pairs of judgements one. Ann agrees with Bob and not with
    Cem: 1 of 2."""
    found = report(
        rows(
            ("p", "a", "b", {"who": "ann"}),
            ("p", "b", "a", {"who": "cem"}),
            ("P ", "A", "b", {"who": "bob"}),
            ("p", "a", "c", {"who": "ann"}),
        ),
        COLUMNS,
    )
    assert (found.repeated, found.agreement, found.conflicts) == (1, Share(1, 3), [(0, 1)])
    assert found.by_annotator == {"ann": Share(1, 2), "bob": Share(1, 2), "cem": Share(0, 2)}


def test_other_rows_are_no_comparisons():
    assert judged(View("answered", "p", ("a",)), {}, COLUMNS) is None
    assert judged(View("comparison", "p", ("a", "b", "c")), {}, COLUMNS) is None
