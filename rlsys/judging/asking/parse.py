"""From what a judge's model replied to a number. Only the judge's own output is read, never what it was shown; what is
not there is an abstention."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlsys.config.judge import CriterionConfig
from rlsys.samples import Abstention, RewardResult, Score


def first_is_better(log_probs: Mapping[str, float], labels: tuple[str, str], min_mass: float) -> float | Abstention:
    """Softmax over the two labels' log-probs: P(first) / (P(first) + P(second)).

    Abstains when a label's log-prob is missing or no number, and when both labels together have less than `min_mass` of
    the probability: then the judge wanted to say something else.
    """
    if problem := _problem(log_probs, labels, labels, min_mass):
        return problem
    return 1 / (1 + math.exp(min(700.0, log_probs[labels[1]] - log_probs[labels[0]])))


def expected_score(log_probs: Mapping[str, float], max_score: int, min_mass: float) -> float | Abstention:
    """The mean of 1 ... `max_score` under their probabilities (Liu et al. 2023, arXiv 2303.16634, section 2), moved to
    0 ... 1.

    A number that the endpoint did not list is less likely than all that it did, and has no part in the mean. Abstains
    when the numbers listed have less than `min_mass` of the probability together, or none is listed.
    """
    labels = [str(number) for number in range(1, max_score + 1)]
    listed = [label for label in labels if label in log_probs]
    if problem := _problem(log_probs, labels, listed, min_mass):
        return problem
    weights = [math.exp(log_probs[label]) for label in listed]
    mean = sum(weight * int(label) for weight, label in zip(weights, listed, strict=True)) / sum(weights)
    return (mean - 1) / (max_score - 1)


def _problem(
    log_probs: Mapping[str, float], labels: Sequence[str], needed: Sequence[str], min_mass: float
) -> Abstention | None:
    if not needed:
        return Abstention(f"none of the labels {', '.join(labels)} has a log-prob")
    for label in needed:
        if label not in log_probs:
            return Abstention(f"the label {label} has no log-prob")
        if math.isnan(log_probs[label]) or log_probs[label] > 1e-3:
            return Abstention(f"the label {label} has the log-prob {log_probs[label]}")
    mass = sum(math.exp(log_probs[label]) for label in needed)
    if mass < min_mass or mass == 0:
        return Abstention(f"no verdict: the labels {', '.join(labels)} have {mass:.2g} of the probability together")
    return None


def rubric_schema(criteria: Sequence[CriterionConfig], max_score: int) -> dict[str, Any]:
    """JSON schema of a rubric's reply: an object with each criterion's name and a whole number from 1 to `max_score`,
    and nothing else."""
    number = {"type": "integer", "minimum": 1, "maximum": max_score}
    names = [criterion.name for criterion in criteria]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, number),
        "required": names,
        "additionalProperties": False,
    }


def rubric_score(text: str, criteria: Sequence[CriterionConfig], max_score: int) -> RewardResult:
    """The weighted mean of the criteria, each moved to 0 ... 1 and among the parts. The whole text must be the JSON
    object that was asked for."""
    try:
        said = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return Abstention(f"malformed JSON: {error}" if str(error) else "malformed JSON")
    if not isinstance(said, dict):
        return Abstention(f"malformed JSON: {type(said).__name__} where an object was asked for")
    names = [criterion.name for criterion in criteria]
    if said.keys() != set(names):
        return Abstention(
            f"malformed JSON: wanted the keys {', '.join(names)}, and it has {', '.join(map(repr, said)) or 'none'}"
        )
    for name in names:
        if type(said[name]) is not int or not 1 <= said[name] <= max_score:
            return Abstention(f"malformed JSON: {name} is no whole number from 1 to {max_score}")
    parts = {name: (said[name] - 1) / (max_score - 1) for name in names}
    total = sum(criterion.weight for criterion in criteria)
    return Score(sum(criterion.weight * parts[criterion.name] for criterion in criteria) / total, parts)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
