from __future__ import annotations

import torch

from rlsys.methods.shared.update import split
from rlsys.samples import stable_seed


def test_rows_by_themselves_are_dealt_out_evenly_in_an_order_that_the_seed_decides():
    parts = split([[row] for row in range(7)], 3, 5, "x")
    assert [len(part) for part in parts] == [3, 2, 2]
    order = torch.randperm(7, generator=torch.Generator().manual_seed(stable_seed(5, "x")))
    assert torch.cat(parts).tolist() == order.tolist()
    assert torch.cat(split([[row] for row in range(7)], 3, 6, "x")).tolist() != order.tolist()


def test_units_stay_together():
    units = [[0, 3], [1], [2, 4, 6], [5, 7]]
    parts = [part.tolist() for part in split(units, 3, 0)]
    assert sorted(row for part in parts for row in part) == list(range(8))
    assert sorted(sum(unit[0] in part for unit in units) for part in parts) == [1, 1, 2]
    assert all(sum(set(unit) <= set(part) for part in parts) == 1 for unit in units)


def test_fewer_units_than_mini_batches():
    assert [part.tolist() for part in split([[2, 3]], 4, 0)] == [[2, 3]]
    assert split([], 4, 0) == []
