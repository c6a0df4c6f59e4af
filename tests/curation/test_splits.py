"""Splits that follow from the row alone, and the pairs that cross them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from rlsys.curation.near import NearDuplicates, signature, words
from rlsys.curation.settings import SplitConfig
from rlsys.curation.splits import Crossing, crossings, group_of, split_of
from rlsys.data.raw import BadRow


def test_shares_are_about_what_was_asked_for():
    """Of 10,000 rows 1,000 +- 30 are test rows: four standard deviations are allowed."""
    counts = Counter(split_of({}, prompt, SplitConfig()) for prompt in range(10_000))
    assert counts[0] == pytest.approx(8000, abs=4 * 40)
    assert counts[1] == pytest.approx(1000, abs=4 * 30)
    assert counts[2] == pytest.approx(1000, abs=4 * 30)


def test_a_row_s_split_is_its_own_affair():
    """Pinned: a change would move every row of everybody's data."""
    config = SplitConfig(names=("a", "b"), shares=(1.0, 1.0), column="user")
    users = [split_of({"user": user}, 0, config) for user in ("ann", "bob", "cem", "dana", "eve", 7)]
    assert users == [split_of({"user": user}, 99, config) for user in ("ann", "bob", "cem", "dana", "eve", "7")]
    assert set(users) == {0, 1}
    assert group_of({"user": "ann"}, 5, config) != group_of({"user": "bob"}, 5, config)
    assert group_of({"user": "ann"}, 5, SplitConfig()) == 5


def test_by_time_a_row_at_the_bound_is_in_the_later_split():
    config = SplitConfig(names=("old", "new"), by="time", column="at", until=("2024-01-01",))
    assert [split_of({"at": at}, 0, config) for at in ("2023-12-31", "2024-01-01", "2025-05-05")] == [0, 1, 1]
    numbers = SplitConfig(names=("a", "b", "c"), by="time", column="at", until=(10, 20))
    assert [split_of({"at": at}, 0, numbers) for at in (9, 10.5, 20, 21)] == [0, 1, 2, 2]
    with pytest.raises(BadRow, match=r"the column 'at' is text, and splits.until has 10"):
        split_of({"at": "soon"}, 0, numbers)


@pytest.mark.parametrize(
    "settings",
    [
        {"names": ("a", "a")},
        {"names": ("a", "b")},
        {"by": "time", "column": "at"},
        {"by": "time", "until": (1, 2)},
        {"by": "time", "column": "at", "until": (2, 1)},
        {"by": "time", "column": "at", "until": ("x", 1)},
    ],
)
def test_settings_that_fit_no_split(settings: dict[str, object]):
    with pytest.raises(ValidationError):
        SplitConfig.model_validate(settings)


def test_the_offending_pairs_are_named():
    texts = ["one two three four five six seven eight nine ten eleven twelve"] * 2 + ["a b c d e f g", "h i j k l m n"]
    near = NearDuplicates(0.8, 128)
    near.add(np.stack([signature(words(text), 5, 128) for text in texts]))
    parts = np.array([0, 1, 0, 1], dtype=np.int8)
    prompts, groups = np.array([1, 2, 3, 3]), np.array([7, 8, 9, 8])
    everything = np.ones(4, dtype=bool)
    assert [*crossings(parts, prompts, groups, everything, near)] == [Crossing("prompt", 3, 2), Crossing("near", 1, 0)]
    assert [*crossings(parts, prompts, np.array([7, 8, 7, 7]), everything, None)] == [
        Crossing("group", 3, 0),
        Crossing("prompt", 3, 2),
    ]
    without_last = np.array([True, True, True, False])
    assert [*crossings(parts, prompts, prompts, without_last, None)] == []
