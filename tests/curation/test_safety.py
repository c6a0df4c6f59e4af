"""Rows of safety data sets, their mixture and their balance."""

from __future__ import annotations

import pytest

from rlsys.curation.safety import Balance, Labels, labels_of, surplus
from rlsys.curation.settings import SafetyConfig
from rlsys.data.raw import BadRow
from rlsys.errors import DataError

ROW = {"prompt": "p", "category": "weapons", "severity": 3, "desired": "refuse"}


def test_labels_are_read_and_checked():
    assert labels_of(ROW, SafetyConfig()) == Labels("weapons", "3", "refuse")
    assert labels_of({**ROW, "harm": {"kind": "x"}}, SafetyConfig(category="harm.kind")).category == "x"
    with pytest.raises(BadRow, match="none of comply, refuse, safe-complete"):
        labels_of({**ROW, "desired": "deny"}, SafetyConfig())
    with pytest.raises(BadRow, match="the category is missing"):
        labels_of({**ROW, "category": " "}, SafetyConfig())
    with pytest.raises(BadRow, match="no column 'severity'"):
        labels_of({"category": "a"}, SafetyConfig())


def test_a_mixture_is_as_large_as_the_scarcest_category_allows():
    """Six of a, three of b, weights 1 and 2: b allows 1.5 a unit, so one of a and all three of b stay; c goes."""
    rows = [(n, "a", 10 - n) for n in range(6)] + [(n, "b", n) for n in range(6, 9)] + [(9, "c", 1)]
    # Of a the one with the least hash stays, the last.
    assert surplus(rows, {"a": 1.0, "b": 2.0}) == [0, 1, 2, 3, 4, 9]
    assert surplus(rows, {"a": 2.0, "b": 1.0, "c": 1 / 3}) == []
    with pytest.raises(DataError, match="no row is left of the category 'd'"):
        surplus(rows, {"d": 1.0})


def test_what_a_balance_teaches():
    balance = Balance()
    for category, desired, count in (("weapons", "refuse", 30), ("drugs", "refuse", 3), ("drugs", "comply", 0)):
        for _ in range(count):
            balance.add(Labels(category, "high", desired))
    assert balance.severities == {"high": 33}
    first, second = balance.warnings()
    assert "a model learns to refuse everything" in first
    assert second == "'weapons' has 30 rows and 'drugs' 3; safety.mix evens them out"
    balance.add(Labels("drugs", "low", "comply"))
    assert balance.warnings() == ["category 'weapons' is always to be refused: nothing tells harm from mention there"]
