"""The measures of a sequence of tasks against numbers worked out by hand."""

from __future__ import annotations

import pytest

from rlsys.continual.matrix import Measures, measures, model_of, rows

THREE = [
    [0.9, 0.2, 0.1],
    [0.6, 0.8, 0.3],
    [0.7, 0.5, 0.6],
]


def test_three_tasks_by_hand() -> None:
    """Average (0.7 + 0.5 + 0.6) / 3 = 0.6. Transfer ((0.7 - 0.9) + (0.5 - 0.8)) / 2 = -0.25. The best past of the first
    task is max(0.9, 0.6), of the second max(0.2, 0.8): forgetting (0.2 + 0.3) / 2."""
    found = measures(THREE)
    assert (found.average, found.backward_transfer, found.forgetting) == pytest.approx((0.6, -0.25, 0.25))


def test_forgetting_counts_from_the_best_past_where_transfer_counts_from_what_was_first_learned() -> None:
    """The second task made the first better, 0.5 to 0.9, and the third took that away: (0.5 - 0.5) for transfer, 0.9 -
    0.5 for forgetting; of the second task 0 and 0."""
    found = measures([[0.5, 0.0, 0.0], [0.9, 0.8, 0.0], [0.5, 0.8, 0.7]])
    assert (found.backward_transfer, found.forgetting) == pytest.approx((0.0, 0.2))


def test_a_single_task_has_nothing_to_forget() -> None:
    assert measures([[0.4]]) == Measures(0.4, None, None)


def test_what_is_no_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[2, 1\]"):
        measures([[0.1, 0.2], [0.3]])


def test_isolated_tasks_are_measured_with_their_own_models() -> None:
    assert [[model_of(i, j, False) for j in range(3)] for i in range(3)] == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert [[model_of(i, j, True) for j in range(3)] for i in range(3)] == [[0, None, None], [0, 1, None], [0, 1, 2]]


def test_the_table_shows_the_matrix_and_its_measures() -> None:
    assert rows(("a", "b"), [[0.9, 0.1], [0.5, 0.8]]) == [
        ("after", "a", "b"),
        ("a", "0.900", "0.100"),
        ("b", "0.500", "0.800"),
        ("average", "0.650", ""),
        ("backward transfer", "-0.400", ""),
        ("forgetting", "0.400", ""),
    ]
