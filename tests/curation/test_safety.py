"""Rows of safety data sets, their mixture and their balance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig
from rlsys.curation.corpus import Corpus
from rlsys.curation.safety import Balance, Labels, labels_of, surplus
from rlsys.curation.settings import CurationConfig, SafetyConfig
from rlsys.curation.survey import survey
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


def test_pairs_are_read_and_their_missing_sides_told():
    assert labels_of({**ROW, "pair": 7}, SafetyConfig()).pair == "7"
    assert labels_of({**ROW, "pair": None}, SafetyConfig()).pair is None
    balance = Balance()
    for desired, pair in (("refuse", "a"), ("comply", "a"), ("refuse", "b"), ("comply", None)):
        balance.add(Labels("weapons", "high", desired, pair))
    (warning,) = balance.warnings()
    assert warning == "1 of 2 pairs have one side only, the first 'b': they tell nothing of look-alikes"


def test_a_mixture_keeps_pairs_together(tmp_path: Path):
    """Of eight pairs with two rows each in a category, half stay: four whole pairs, and no half one."""
    rows = [
        {"prompt": f"{word} {desired}", "category": "a", "severity": 1, "desired": desired, "pair": word}
        for word in ("ape", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")
        for desired in ("refuse", "comply")
    ]
    rows += [{"prompt": f"{n} apart", "category": "b", "severity": 1, "desired": "comply"} for n in range(8)]
    file = tmp_path / "safety.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CurationConfig(safety=SafetyConfig(mix={"a": 1.0, "b": 1.0}), processes=1)
    found = survey(Corpus((DatasetConfig(path=str(file)),), ContaminationConfig()), config)
    assert found.reasons() == {"mix": 8}
    assert [len(sides) for sides in found.balance.pairs.values()] == [2, 2, 2, 2]
