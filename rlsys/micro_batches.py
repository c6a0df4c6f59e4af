"""Which rows go through the model together, on which rank: token-budget micro-batches, balanced by tokens, as many on every rank."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from rlsys.errors import ConfigError

Plan = list[list[list[int]]]
"""Per rank, per micro-batch, the row indices. An empty micro-batch keeps a rank in step with the others."""


def plan(lengths: Sequence[int], ranks: int, token_budget: int, packed: bool) -> Plan:
    """Deal rows of `lengths` tokens out to `ranks`.

    The cost of a micro-batch is the sum of its lengths if `packed`, else its longest length times its rows (padding is computed too); none is
    above `token_budget`. All ranks get the same number of micro-batches, the fewest that the budget allows; the n-th ones of all ranks are
    about equally long, because ranks wait for each other there. Raises ConfigError for a row longer than the budget.
    """
    if not lengths:
        raise ValueError("a batch without rows can't be planned")
    longest = max(lengths)
    if longest > token_budget:
        raise ConfigError(
            f"a sequence of {longest} tokens does not fit into tokens_per_micro_batch={token_budget}: raise it, or shorten "
            f"data.max_prompt_tokens or sampling.max_tokens"
        )
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    split = _pack if packed else _slice
    rounds = 1
    while (chunks := split(order, lengths, rounds * ranks, token_budget)) is None:
        rounds += 1
    cost = _packed_cost if packed else _padded_cost
    chunks.sort(key=lambda rows: -cost(rows, lengths))
    chunks += [[] for _ in range(rounds * ranks - len(chunks))]
    # Every second round is dealt in reverse, so that no rank gets the longest of each.
    deals = [chunks[i * ranks : (i + 1) * ranks][:: -1 if i % 2 else 1] for i in range(rounds)]
    return [[deal[rank] for deal in deals] for rank in range(ranks)]


def _packed_cost(rows: Sequence[int], lengths: Sequence[int]) -> int:
    return sum(lengths[row] for row in rows)


def _padded_cost(rows: Sequence[int], lengths: Sequence[int]) -> int:
    return len(rows) * max(lengths[row] for row in rows)


def _pack(order: Sequence[int], lengths: Sequence[int], chunks: int, budget: int) -> list[list[int]] | None:
    """Longest first, each row to the chunk that has the fewest tokens so far; None if that breaks the budget."""
    heap = [(0, i) for i in range(chunks)]
    result: list[list[int]] = [[] for _ in range(chunks)]
    for row in order:
        tokens, i = heapq.heappop(heap)
        if tokens + lengths[row] > budget:
            return None
        result[i].append(row)
        heapq.heappush(heap, (tokens + lengths[row], i))
    return [rows for rows in result if rows]


def _slice(order: Sequence[int], lengths: Sequence[int], chunks: int, budget: int) -> list[list[int]] | None:
    """At most `chunks` runs of rows of similar length, under the smallest cap on their padded cost; None if the budget needs more."""
    low, high = lengths[order[0]], budget
    if len(_runs(order, lengths, high)) > chunks:
        return None
    while low < high:
        cap = (low + high) // 2
        if len(_runs(order, lengths, cap)) > chunks:
            low = cap + 1
        else:
            high = cap
    return _runs(order, lengths, high)


def _runs(order: Sequence[int], lengths: Sequence[int], cap: int) -> list[list[int]]:
    """Cut rows of falling length into runs of padded cost at most `cap`."""
    runs: list[list[int]] = []
    for row in order:
        if runs and lengths[runs[-1][0]] * (len(runs[-1]) + 1) <= cap:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs
