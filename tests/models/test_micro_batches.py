"""Every row once, within the budget, in step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsys.errors import ConfigError
from rlsys.models.micro_batches import micro_batches


def test_padded_rows_of_similar_length_go_together() -> None:
    # Budget 20: {10, 9} costs 2 x 10, {4, 4, 3, 2} costs 4 x 4. Mixed in any other way, two micro-batches would not do.
    assert micro_batches([4, 10, 3, 2, 9, 4], ranks=1, token_budget=20, packed=False) == [[[1, 4], [0, 5, 2, 3]]]


def test_packed_rows_fill_the_budget_evenly() -> None:
    # 24 tokens on two ranks: longest first, each to whoever has fewer, gives 8 + 3 + 1 and 6 + 5 + 1.
    assert micro_batches([1, 8, 5, 3, 6, 1], ranks=2, token_budget=12, packed=True) == [[[1, 3, 0]], [[4, 2, 5]]]


def test_padding_counts_against_the_budget() -> None:
    # 6 + 2 + 2 + 2 = 12 tokens fit a budget of 12 when packed; padded to 6 they are 24 and need two micro-batches.
    assert len(micro_batches([6, 2, 2, 2], 1, 12, packed=True)[0]) == 1
    assert micro_batches([6, 2, 2, 2], 1, 12, packed=False) == [[[0], [1, 2, 3]]]


def test_a_rank_without_rows_stays_in_step() -> None:
    assert micro_batches([5], ranks=2, token_budget=8, packed=False) == [[[0]], [[]]]


def test_no_rank_gets_the_longest_of_every_round() -> None:
    # Four micro-batches of one row each, longest first: 9 and 6 to one rank, 8 and 7 to the other.
    assert micro_batches([9, 8, 7, 6], ranks=2, token_budget=9, packed=False) == [[[0], [3]], [[1], [2]]]


def test_a_row_beyond_the_budget_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match="30 tokens does not fit into tokens_per_micro_batch=29"):
        micro_batches([3, 30], 1, 29, packed=False)


def test_units_stay_together() -> None:
    # Units cost 2 x 5, 2 x 4 and 2 x 3 padded; under 14 no two fit together, although the two longest rows alone would.
    units = [[0, 3], [1, 4], [2, 5]]
    assert micro_batches([5, 4, 3, 1, 1, 1], 1, 14, packed=False, units=units) == [[[0, 3], [1, 4], [2, 5]]]
    # Packed they are 6, 5 and 4 tokens: the two shorter ones share.
    assert micro_batches([5, 4, 3, 1, 1, 1], 2, 9, packed=True, units=units) == [[[1, 4, 2, 5]], [[0, 3]]]


def test_a_unit_beyond_the_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 sequences that are compared with each other, 10 tokens together"):
        micro_batches([5, 2], 1, 9, packed=False, units=[[0, 1]])


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    ranks=st.integers(1, 4),
    budget=st.integers(50, 400),
    packed=st.booleans(),
)
def test_every_plan_keeps_its_promises(lengths: list[int], ranks: int, budget: int, packed: bool) -> None:
    plans = micro_batches(lengths, ranks, budget, packed)
    assert len(plans) == ranks
    assert len({len(own) for own in plans}) == 1
    assert sorted(row for own in plans for rows in own for row in rows) == list(range(len(lengths)))
    for own in plans:
        for rows in filter(None, own):
            cost = sum(lengths[row] for row in rows) if packed else len(rows) * max(lengths[row] for row in rows)
            assert cost <= budget
    # The fewest rounds possible can't be below the tokens over the budget; it can't be far above it either.
    fewest = -(-sum(lengths) // (ranks * budget))
    assert fewest <= len(plans[0]) <= 2 * fewest + 2


@given(lengths=st.lists(st.integers(1, 100), min_size=64, max_size=128))
def test_two_ranks_are_balanced(lengths: list[int]) -> None:
    tokens = [sum(lengths[row] for rows in own for row in rows) for own in micro_batches(lengths, 2, 400, packed=True)]
    assert abs(tokens[0] - tokens[1]) <= 200
