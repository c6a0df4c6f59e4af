"""Which rows go through the model together, on which rank: token-budget micro-batches, balanced by tokens, as many on
every rank."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from rlsys.errors import ConfigError

MicroBatches = list[list[list[int]]]
"""Per rank, per micro-batch, the row indices. An empty micro-batch keeps a rank in step with the others."""


def micro_batches(
    lengths: Sequence[int], ranks: int, token_budget: int, packed: bool, units: Sequence[Sequence[int]] | None = None
) -> MicroBatches:
    """Deal rows of `lengths` tokens out to `ranks`. `units` are rows that must stay together; none means each row by
    itself.

    The cost of a micro-batch is the sum of its lengths if `packed`, else its longest length times its rows (padding is
    computed too); none is above `token_budget`. All ranks get the same number of micro-batches, the fewest that the
    budget allows; the n-th ones of all ranks are about equally long, because ranks wait for each other there. Raises
    ConfigError for a row or unit that costs more than the budget.
    """
    if not lengths:
        raise ValueError("a batch without rows can't be planned")
    cost = _packed_cost if packed else _padded_cost
    order = [list(unit) for unit in (units if units is not None else [[row] for row in range(len(lengths))])]
    order.sort(key=lambda rows: -max(lengths[row] for row in rows))
    _check_fits(max(order, key=lambda rows: cost(rows, lengths)), lengths, cost, token_budget)
    split = _pack if packed else _slice
    rounds = 1
    while (chunks := split(order, lengths, rounds * ranks, token_budget)) is None:
        rounds += 1
    chunks.sort(key=lambda rows: -cost(rows, lengths))
    chunks += [[] for _ in range(rounds * ranks - len(chunks))]
    # Every second round is dealt in reverse, so that no rank gets the longest of each.
    deals = [chunks[i * ranks : (i + 1) * ranks][:: -1 if i % 2 else 1] for i in range(rounds)]
    return [[deal[rank] for deal in deals] for rank in range(ranks)]


def _check_fits(
    rows: list[int], lengths: Sequence[int], cost: Callable[[Sequence[int], Sequence[int]], int], token_budget: int
) -> None:
    if cost(rows, lengths) <= token_budget:
        return
    what = (
        f"a sequence of {lengths[rows[0]]} tokens does"
        if len(rows) == 1
        else f"{len(rows)} sequences that are compared with each other, {cost(rows, lengths)} tokens together, do"
    )
    raise ConfigError(
        f"{what} not fit into tokens_per_micro_batch={token_budget}: raise it, or shorten sequences (by "
        "data.max_prompt_tokens and "
        f"sampling.max_tokens, or method.max_tokens)"
    )


def _packed_cost(rows: Sequence[int], lengths: Sequence[int]) -> int:
    return sum(lengths[row] for row in rows)


def _padded_cost(rows: Sequence[int], lengths: Sequence[int]) -> int:
    return len(rows) * max(lengths[row] for row in rows)


def _pack(units: Sequence[list[int]], lengths: Sequence[int], chunks: int, budget: int) -> list[list[int]] | None:
    """Longest first, each unit to the chunk that has the fewest tokens so far; None if that breaks the budget."""
    heap = [(0, i) for i in range(chunks)]
    result: list[list[int]] = [[] for _ in range(chunks)]
    for rows in units:
        tokens, i = heapq.heappop(heap)
        total = tokens + _packed_cost(rows, lengths)
        if total > budget:
            return None
        result[i] += rows
        heapq.heappush(heap, (total, i))
    return [rows for rows in result if rows]


def _slice(units: Sequence[list[int]], lengths: Sequence[int], chunks: int, budget: int) -> list[list[int]] | None:
    """At most `chunks` runs of units of similar length, under the smallest cap on their padded cost; None if the budget
    needs more."""
    low, high = max(_padded_cost(rows, lengths) for rows in units), budget
    if len(_runs(units, lengths, high)) > chunks:
        return None
    while low < high:
        cap = (low + high) // 2
        if len(_runs(units, lengths, cap)) > chunks:
            low = cap + 1
        else:
            high = cap
    return _runs(units, lengths, high)


def _runs(units: Sequence[list[int]], lengths: Sequence[int], cap: int) -> list[list[int]]:
    """Cut units of falling length into runs of padded cost at most `cap`."""
    runs: list[list[int]] = []
    longest = 0
    for rows in units:
        if runs and longest * (len(runs[-1]) + len(rows)) <= cap:
            runs[-1] += rows
        else:
            runs.append(list(rows))
            longest = max(lengths[row] for row in rows)
    return runs
