"""The samples that a report shows, picked from a run's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rlsys.commands.report.bounds import Bounds
from rlsys.run.ledger import Ledger, Order
from rlsys.samples import Sample

PAIRS, EXTREMES, REASONS = 8, 5, 20
"""Most that are shown: prompts before and after, best (and worst) samples, reasons of abstentions."""

SEARCHED = 200
"""Samples in which so many prompts are looked for."""


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """What became of the answers to the same held-out prompts between two evaluations."""

    mode: str
    """How they were answered, as in greedy."""
    steps: tuple[int, int]
    pairs: Sequence[tuple[Sample, Sample]]
    """Some of them: first those that got better, then worse, then the rest, a share of each."""
    better: int
    worse: int
    same: int
    """How many there are, of those that both times had a reward."""


@dataclass(frozen=True)
class Told:
    """Of one run."""

    change: BeforeAfter | None = None
    step: int | None = None
    """Of `best` and `worst`: the last that trained."""
    best: Sequence[Sample] = ()
    worst: Sequence[Sample] = ()
    abstentions: Sequence[tuple[str, str, int]] = ()
    """Reason, phase, how many."""
    reasons: int = 0
    """How many different ones there are."""
    faults: Sequence[tuple[int, int, str]] = ()
    browsed: Sequence[Sample] = ()
    count: int = 0
    """Samples in the ledger, of which `browsed` are some."""
    largest: float = field(default=0.0)
    """Of the advantages of best and worst, without their signs: what is shaded fully."""


def told(ledger: Ledger, bounds: Bounds) -> Told:
    step = max(ledger.steps("train"), default=None)
    best = _of_prompts(ledger, "reward DESC", step)
    worst = _of_prompts(ledger, "reward", step)
    browsed, count = ledger.spread(bounds.samples)
    abstentions = ledger.abstentions()
    return Told(
        _before_after(ledger),
        step,
        best,
        worst,
        abstentions[:REASONS],
        len(abstentions),
        ledger.faults(),
        browsed,
        count,
        max((abs(sample.advantage) for sample in (*best, *worst) if sample.advantage is not None), default=0.0),
    )


def _of_prompts(ledger: Ledger, order: Order, step: int | None) -> list[Sample]:
    """The first samples of training in an order by reward, one of each prompt."""
    if step is None:
        return []
    found, _ = ledger.find(order, SEARCHED, step, "train")
    first: dict[str, Sample] = {}
    for sample in found:
        first.setdefault(sample.prompt_id, sample)
    return [*first.values()][:EXTREMES]


def _before_after(ledger: Ledger) -> BeforeAfter | None:
    """The first and the last evaluation, by greedy answers where there are some; None with less than two."""
    steps = ledger.steps("eval")
    if len(steps) < 2:
        return None
    first, last = (
        {_place(sample): sample for sample in ledger.samples(step, "eval")} for step in (steps[0], steps[-1])
    )
    both = [place for place in first if place in last]
    modes = {mode for mode, _ in both}
    if not modes:
        return None
    mode = "eval-greedy" if "eval-greedy" in modes else min(modes)
    kinds: dict[int, list[tuple[Sample, Sample]]] = {1: [], -1: [], 0: []}
    for place in both:
        was, now = first[place].reward, last[place].reward
        if place[0] == mode and was is not None and now is not None:
            kinds[(now > was) - (now < was)].append((first[place], last[place]))
    better, worse, same = kinds.values()
    # Half of what is shown got better, a quarter worse, where there are so many.
    shown = [*better[: PAIRS // 2], *worse[: PAIRS // 4]]
    shown += same[: PAIRS - len(shown)]
    shown += better[PAIRS // 2 :][: PAIRS - len(shown)]
    return BeforeAfter(mode.removeprefix("eval-"), (steps[0], steps[-1]), shown, len(better), len(worse), len(same))


def _place(sample: Sample) -> tuple[str, str]:
    """What two evaluations have in common of a sample's id, MODE-STEP/PROMPT: the mode, and the prompt with the
    sample's number."""
    tag, _, rest = sample.sample_id.partition("/")
    return tag.removesuffix(f"-{sample.step}"), rest
