"""AI feedback, from a run's ledger: which principles were asked, what each round of revisions and each principle
changed, and what the labels would be without each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rlsys.judging.auditing.quality import quality, wins
from rlsys.run.ledger import Outcome
from rlsys.samples import Verdict

Parts = Mapping[str, float]
EVASIVE = "evasive"
"""The part of the reward that says whether an answer evades."""


@dataclass(frozen=True, slots=True)
class Change:
    """Mean change of a part of the reward, over so many revisions. `error`: its standard error; None of a single
    one."""

    mean: float
    error: float | None
    count: int


def round_of(sample_id: str) -> int:
    """Of a revision `ID#rN`, N; of any other sample, 0."""
    _, mark, number = sample_id.rpartition("#r")
    return int(number) if mark and number.isdecimal() else 0


def principles(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """How many questions of each kind were asked by each principle. Both orders of a comparison are one question.
    Audits are left out."""
    asked = {
        (verdict.principle, verdict.kind, verdict.verdict_id.rpartition("/")[0])
        for verdict in verdicts
        if verdict.principle is not None and verdict.kind not in ("canary", "repeat", "human")
    }
    found: dict[str, dict[str, int]] = {}
    for principle, kind, _ in sorted(asked):
        kinds = found.setdefault(principle, {})
        kinds[kind] = kinds.get(kind, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))


def rounds(outcomes: Iterable[Outcome]) -> dict[int, tuple[int, Parts]]:
    """Of all answers as they were sampled (round 0) and as they stand after each round: how many are scored, and the
    mean of each part of the reward. An answer that a round did not revise stands as it was. Empty without revisions."""
    answers: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        if (number := round_of(outcome.sample_id)) or outcome.phase == "train":
            answers.setdefault(outcome.sample_id.removesuffix(f"#r{number}"), {})[number] = outcome
    last = max((number for own in answers.values() for number in own), default=0)
    found = {}
    for number in range(1 + last) if last else ():
        standing = [own[max(at for at in own if at <= number)] for own in answers.values()]
        scored = [outcome.reward_parts for outcome in standing if outcome.reward is not None]
        found[number] = (len(scored), mean_parts(scored))
    return found


def mean_parts(scored: Sequence[Parts]) -> dict[str, float]:
    names = sorted({name for parts in scored for name in parts})
    return {name: fmean(parts[name] for parts in scored if name in parts) for name in names}


def evasiveness(outcomes: Iterable[Outcome]) -> dict[str, tuple[int, float]]:
    """Of samples with a part `evasive`, by what they are: how many, and the mean. Of held-out answers, those of the
    first and last evaluation."""
    found: dict[tuple[int, int, str], list[float]] = {}
    rest = [outcome for outcome in outcomes if EVASIVE in outcome.reward_parts]
    evaluated = [outcome.step for outcome in rest if outcome.phase == "eval"]
    for outcome in rest:
        number = round_of(outcome.sample_id)
        if outcome.phase == "eval" and outcome.step in (min(evaluated), max(evaluated)):
            key = (0, outcome.step, f"held-out answers, step {outcome.step}")
        elif number:
            key = (1, number, f"revisions of round {number}")
        elif outcome.phase == "train":
            key = (1, 0, "answers sampled to train on")
        else:
            continue
        found.setdefault(key, []).append(outcome.reward_parts[EVASIVE])
    return {name: (len(values), fmean(values)) for (*_, name), values in sorted(found.items())}


def changes(outcomes: Iterable[Outcome], verdicts: Iterable[Verdict]) -> dict[str, dict[str, Change]]:
    """By principle and part of the reward: how revisions by it changed the answers that they revised, where both were
    scored."""
    parts = {outcome.sample_id: outcome.reward_parts for outcome in outcomes if outcome.reward is not None}
    differences: dict[str, dict[str, list[float]]] = {}
    for verdict in verdicts:
        revision = verdict.verdict_id.removesuffix("/revision/0")
        if verdict.kind != "revision" or verdict.principle is None or revision not in parts:
            continue
        before = parts.get(verdict.sample_ids[0], {})
        for name in parts[revision].keys() & before.keys():
            differences.setdefault(verdict.principle, {}).setdefault(name, []).append(
                parts[revision][name] - before[name]
            )
    return {
        principle: {name: _change(own) for name, own in sorted(of.items())}
        for principle, of in sorted(differences.items())
    }


def _change(values: Sequence[float]) -> Change:
    return Change(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None, len(values))


def leave_one_out(
    verdicts: Sequence[Verdict], outcomes: Iterable[Outcome], of_judge: Iterable[str] = ()
) -> dict[str | None, dict[str, float]]:
    """Statistics of the labels of comparisons by principles: of all of them under None, and without those of each
    principle.

    `comparisons`; of `quality`, `label_entropy`, `same_position_rate`, `order_bias` and `longer_wins`; and `agrees:
    PART`, the share of comparisons whose label prefers the sample with the higher part of the reward, half for an even
    label, over those where it differs. Parts that are `of_judge` are left out: they are made of the labels.
    """
    parts = {
        outcome.sample_id: {name: value for name, value in outcome.reward_parts.items() if name not in of_judge}
        for outcome in outcomes
        if outcome.reward is not None
    }
    compared = [verdict for verdict in verdicts if verdict.kind == "compare" and verdict.principle is not None]
    named = sorted({verdict.principle for verdict in compared if verdict.principle is not None})
    if len(named) < 2:
        return {}
    return {
        left: _labels([verdict for verdict in compared if verdict.principle != left], parts) for left in (None, *named)
    }


def _labels(verdicts: Sequence[Verdict], parts: Mapping[str, Parts]) -> dict[str, float]:
    found = quality(verdicts)
    kept = {
        name: found[name]
        for name in ("label_entropy", "same_position_rate", "order_bias", "longer_wins")
        if name in found
    }
    asked: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        asked.setdefault(verdict.verdict_id.rpartition("/")[0], []).append(verdict)
    agreed: dict[str, list[float]] = {}
    for orders in asked.values():
        first, second = orders[0].sample_ids
        label = _label(orders, first)
        if label is None:
            continue
        for name in parts.get(first, {}).keys() & parts.get(second, {}).keys():
            difference = parts[first][name] - parts[second][name]
            if difference:
                agreed.setdefault(name, []).append(wins(label if difference > 0 else 1 - label))
    return {
        "comparisons": float(len(asked)),
        **kept,
        **{f"agrees: {name}": fmean(own) for name, own in sorted(agreed.items())},
    }


def _label(orders: Sequence[Verdict], first: str) -> float | None:
    """The probability that the sample `first` is better, over the orders asked; None unless all have an answer."""
    values = [
        verdict.value if verdict.sample_ids[0] == first else 1 - verdict.value
        for verdict in orders
        if verdict.value is not None
    ]
    return fmean(values) if len(values) == len(orders) else None
