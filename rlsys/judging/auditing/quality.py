"""How good a judge is, from its verdicts alone: does it prefer a position or a length, does it agree with itself, with
people, with what is known?

A comparison is one question, asked in one or both orders: verdicts `QUESTION/KIND/0` and `QUESTION/KIND/1`, the second
of which shows the other answer first. A verdict's value is the probability that the answer shown first is better; a
question's is that of the first answer of order 0, averaged over the orders that were asked; without an answer in one of
them it has none. What would be a mean of nothing, or a correlation with something constant, is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import correlation, fmean
from typing import Any

from rlsys.samples import Verdict

SURE = 1e-6
"""In a log-likelihood, a probability below this counts as this: one wrong certainty would make every mean infinite."""
FEWEST_CANARIES = 10
"""Fewer say nothing about a judge's accuracy."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One comparison that was answered."""

    values: dict[int, float]
    """By order: the probability that the answer shown first is better."""
    longer: int
    """By how many characters the first answer of order 0 is longer than the second."""
    expected: float | None
    """What `value` should be."""

    @property
    def value(self) -> float:
        """The probability that the first answer of order 0 is better, averaged over the orders."""
        return fmean(1 - value if order else value for order, value in self.values.items())


def questions(verdicts: Iterable[Verdict], kind: str) -> list[Asked]:
    """The comparisons of one kind that have an answer in every order in which they were asked."""
    grouped: dict[str, dict[int, Verdict]] = {}
    for verdict in verdicts:
        if verdict.kind == kind:
            question, _, order = verdict.verdict_id.rpartition("/")
            assert order in ("0", "1"), f"verdict {verdict.verdict_id}: a comparison's id ends in its order, 0 or 1"
            grouped.setdefault(question, {})[int(order)] = verdict
    return [asked for orders in grouped.values() if (asked := _asked(orders)) is not None]


def _asked(orders: dict[int, Verdict]) -> Asked | None:
    values = {order: verdict.value for order, verdict in orders.items() if verdict.value is not None}
    if len(values) < len(orders):
        return None
    order, verdict = next(iter(orders.items()))
    longer = verdict.lengths[0] - verdict.lengths[1] if len(verdict.lengths) == 2 else 0
    expected = verdict.expected if verdict.expected is None or not order else 1 - verdict.expected
    return Asked(values, -longer if order else longer, expected)


def quality(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Every statistic that these verdicts have, by name.

    - `same_position_rate`: of the comparisons asked in both orders, the share in which the same position won twice.
    - `order_bias`: mean probability of the answer shown first, less 1/2, over comparisons asked in both orders. Both
      orders together show every answer first once, so how good the answers are takes no part.
    - `label_entropy`: mean entropy of the averaged labels of comparisons, bits.
    - `length_correlation`, `longer_wins`: of an answer's averaged probability with how much longer than the other it
      is, over both answers of every comparison; and the share of comparisons that the longer one wins, half for a tie.
    - `score_length_correlation`: Pearson's, of scores (and rubrics) with the lengths of the answers.
    - `self_agreement`, `self_difference`: of repeated comparisons, the share with the same winner as at first; of all
      that was repeated, the mean absolute difference of the value.
    - `canary_accuracy`, `human_agreement`: share of known and of people's answers that the averaged label agrees with,
      half for a tie; `human_log_likelihood`: mean log-probability of people's answers, nats.
    - `verdicts`, `abstained`, `cached`: how many there are, and shares of them. `cost`, `prompt_tokens`,
      `completion_tokens`: sums over those that were not cached. `latency_mean`, `latency_p95`: seconds, of the same.
    """
    found = {
        **_positions(questions(verdicts, "compare")),
        "score_length_correlation": _score_length_correlation(verdicts),
        **_known(verdicts),
        **_repeats(verdicts),
        **_work(verdicts),
    }
    return {name: value for name, value in found.items() if value is not None}


def abstentions(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many questions have no answer, by reason (what stands before its first colon), the most frequent first."""
    reasons = Counter(verdict.abstention.partition(":")[0] for verdict in verdicts if verdict.abstention is not None)
    return dict(reasons.most_common())


def commonest_abstention(verdicts: Iterable[Verdict]) -> str | None:
    """Of the most frequent reason in `abstentions`, the most frequent whole text. None where every question has an
    answer."""
    texts = Counter(verdict.abstention for verdict in verdicts if verdict.abstention is not None)
    heads: Counter[str] = Counter()
    for text, count in texts.items():
        heads[text.partition(":")[0]] += count
    commonest = heads.most_common(1)[0][0] if heads else None
    return next((text for text, _ in texts.most_common() if text.partition(":")[0] == commonest), None)


def kinds(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many verdicts there are of each kind."""
    return dict(sorted(Counter(verdict.kind for verdict in verdicts).items()))


def judge_metrics(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """`quality` as a step's metrics, `judge/NAME`; nothing where no judge was asked."""
    return {f"judge/{name}": value for name, value in quality(verdicts).items()} if verdicts else {}


def run_quality(verdicts: Sequence[Verdict], canary_alarm: bool) -> dict[str, Any] | None:
    """A whole run's statistics, for its summary: `quality`, how many canaries were answered, the counts by kind and by
    reason of abstention with an example of the commonest, and whether the alarm was given. None where no judge was
    asked."""
    if not verdicts:
        return None
    return {
        **quality(verdicts),
        "canaries": len(questions(verdicts, "canary")),
        "kinds": kinds(verdicts),
        "abstentions": abstentions(verdicts),
        "abstention_example": commonest_abstention(verdicts),
        "canary_alarm": canary_alarm,
    }


def canaries_fail(verdicts: Iterable[Verdict], alarm: float) -> tuple[int, float] | None:
    """How many canaries there are and the accuracy on them, if they are enough to tell (`FEWEST_CANARIES`) and it is
    below `alarm`."""
    asked = questions(verdicts, "canary")
    if len(asked) < FEWEST_CANARIES:
        return None
    accuracy = fmean(map(_right, asked))
    return (len(asked), accuracy) if accuracy < alarm else None


def _positions(asked: Sequence[Asked]) -> dict[str, float | None]:
    twice = [[*one.values.values()] for one in asked if len(one.values) == 2]
    unequal = [one for one in asked if one.longer]
    return {
        "same_position_rate": _mean(twice, lambda both: float((both[0] - 0.5) * (both[1] - 0.5) > 0)),
        "order_bias": _mean(twice, lambda both: fmean(both) - 0.5),
        "label_entropy": _mean(asked, lambda one: entropy(one.value)),
        "length_correlation": _length_correlation(asked),
        "longer_wins": _mean(unequal, lambda one: wins(one.value if one.longer > 0 else 1 - one.value)),
    }


def _length_correlation(asked: Sequence[Asked]) -> float | None:
    """Each comparison gives two points, (p, d) and (1 - p, -d), so that which of its answers is called the first does
    not matter. Their means are 1/2 and 0. A single comparison lies on a line whatever it says."""
    covariance = math.fsum((one.value - 0.5) * one.longer for one in asked)
    spread = math.sqrt(math.fsum((one.value - 0.5) ** 2 for one in asked) * sum(one.longer**2 for one in asked))
    return covariance / spread if len(asked) > 1 and spread else None


def _score_length_correlation(verdicts: Sequence[Verdict]) -> float | None:
    points = [
        (verdict.value, verdict.lengths[0])
        for verdict in verdicts
        if verdict.kind in ("score", "rubric") and verdict.value is not None and verdict.lengths
    ]
    values, lengths = [value for value, _ in points], [length for _, length in points]
    return correlation(values, lengths) if len(set(values)) > 1 and len(set(lengths)) > 1 else None


def _known(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    human = questions(verdicts, "human")
    return {
        "canary_accuracy": _mean(questions(verdicts, "canary"), _right),
        "human_agreement": _mean(human, _right),
        "human_log_likelihood": _mean(human, _log_likelihood),
    }


def _repeats(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    pairs = [
        (verdict.value, verdict.expected, len(verdict.sample_ids) == 2)
        for verdict in verdicts
        if verdict.kind == "repeat" and verdict.value is not None and verdict.expected is not None
    ]
    compared = [(again, before) for again, before, comparison in pairs if comparison]
    return {
        "self_agreement": _mean(compared, lambda pair: float(wins(pair[0]) == wins(pair[1]))),
        "self_difference": _mean(pairs, lambda pair: abs(pair[0] - pair[1])),
    }


def _work(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    asked = [verdict for verdict in verdicts if not verdict.cached]
    seconds = sorted(verdict.seconds for verdict in asked)
    return {
        "verdicts": float(len(verdicts)),
        "abstained": _mean(verdicts, lambda verdict: float(verdict.abstention is not None)),
        "cached": _mean(verdicts, lambda verdict: float(verdict.cached)),
        "cost": math.fsum(verdict.cost for verdict in asked),
        "prompt_tokens": float(sum(verdict.prompt_tokens for verdict in asked)),
        "completion_tokens": float(sum(verdict.completion_tokens for verdict in asked)),
        "latency_mean": _mean(seconds, float),
        # The smallest that at least 95% of all do not exceed.
        "latency_p95": seconds[math.ceil(0.95 * len(seconds)) - 1] if seconds else None,
    }


def entropy(probability: float) -> float:
    """Of a yes or no, bits."""
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)


def _right(one: Asked) -> float:
    return wins(_of_expected(one))


def _log_likelihood(one: Asked) -> float:
    return math.log(max(_of_expected(one), SURE))


def _of_expected(one: Asked) -> float:
    """The probability of the answer that is known to be better."""
    assert one.expected in (0.0, 1.0), f"a known answer is 0 or 1, not {one.expected}"
    return one.value if one.expected else 1 - one.value


def wins(probability: float) -> float:
    """1, 0, or 1/2 for a tie."""
    return 0.5 if probability == 0.5 else float(probability > 0.5)


def _mean(items: Sequence[object], measure: Callable[..., float]) -> float | None:
    return fmean(map(measure, items)) if items else None
