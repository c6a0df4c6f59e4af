"""Safety data sets: rows of a prompt, its kind of harm, how bad that would be, and what the model should do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from rlsys.curation.settings import Desired, SafetyConfig
from rlsys.data.nested import ABSENT, find, look
from rlsys.data.raw import BadRow
from rlsys.data.values import as_text, present
from rlsys.errors import DataError

WANTED: tuple[str, ...] = get_args(Desired)


@dataclass(frozen=True, slots=True)
class Labels:
    category: str
    severity: str
    desired: str
    pair: str | None = None
    """What a harmful prompt and its harmless look-alike have in common."""


def labels_of(value: dict[str, Any], config: SafetyConfig) -> Labels:
    """Raises BadRow for a row without its labels, or with another desired behaviour than there is."""
    found = {}
    for own in ("category", "severity", "desired"):
        item = present(find(value, getattr(config, own), f"safety.{own}"))
        text = "" if item is None else as_text(item).strip()
        if not text:
            raise BadRow(f"the {own} is missing")
        found[own] = text
    if found["desired"] not in WANTED:
        raise BadRow(f"the desired behaviour is none of {', '.join(WANTED)}")
    pair = look(value, config.pair)
    return Labels(**found, pair=None if pair is ABSENT or present(pair) is None else as_text(pair))


def surplus(rows: Sequence[tuple[int, str, int]], weights: Mapping[str, float]) -> list[int]:
    """The rows that the mixture has no room for. `rows`: number, category and a hash by which those that stay are
    chosen, so that a new row moves few. A category without a weight is left out whole; as many rows stay in all as the
    scarcest of the others allows. Raises DataError for a weight of a category without rows."""
    own: dict[str, list[tuple[int, int]]] = {category: [] for category in weights}
    left_out = [number for number, category, _ in rows if category not in weights]
    for number, category, chance in rows:
        if category in weights:
            own[category].append((chance, number))
    for category, found in own.items():
        if not found:
            raise DataError(f"safety.mix: no row is left of the category {category!r}; take its weight out")
    most = min(len(found) / weights[category] for category, found in own.items())
    for category, found in own.items():
        # The nudge is for products such as 3 * (1 / 3).
        left_out += [number for _, number in sorted(found)[int(most * weights[category] + 1e-9) :]]
    return sorted(left_out)


@dataclass
class Balance:
    """What a safety data set consists of."""

    behaviours: dict[str, Counter[str]] = field(default_factory=dict)
    """How often each behaviour is desired, by category."""
    severities: Counter[str] = field(default_factory=Counter)
    pairs: dict[str, set[bool]] = field(default_factory=dict)
    """Of each pair, which sides are there: to be complied with, or not."""

    def add(self, labels: Labels) -> None:
        self.behaviours.setdefault(labels.category, Counter())[labels.desired] += 1
        self.severities[labels.severity] += 1
        if labels.pair is not None:
            self.pairs.setdefault(labels.pair, set()).add(labels.desired == "comply")

    def warnings(self) -> list[str]:
        """What such a balance teaches that nobody wants."""
        totals = Counter[str]()
        for counts in self.behaviours.values():
            totals.update(counts)
        said = []
        if totals and not totals["comply"]:
            said.append("no row is to be complied with: a model learns to refuse everything; add harmless look-alikes")
        said += [
            f"category {category!r} is always to be refused: nothing tells harm from mention there"
            for category, counts in sorted(self.behaviours.items())
            if totals["comply"] and set(counts) == {"refuse"}
        ]
        alone = [pair for pair, sides in self.pairs.items() if len(sides) < 2]
        if alone:
            told = f"{len(alone):,} of {len(self.pairs):,} pairs have one side only, the first {alone[0]!r}"
            said.append(f"{told}: they tell nothing of look-alikes")
        sizes = {category: counts.total() for category, counts in self.behaviours.items()}
        if sizes and max(sizes.values()) >= 10 * min(sizes.values()):
            most, least = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
            said.append(f"{most!r} has {sizes[most]:,} rows and {least!r} {sizes[least]:,}; safety.mix evens them out")
        return said
