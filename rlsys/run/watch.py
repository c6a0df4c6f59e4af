"""Whether a run learns anything. What is wrong with a step is said while it happens, and once more at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlsys.methods.base import Facts

UNTAUGHT, ENDLESS = "untaught", "endless"
SAID = (1, 10, 100, 1000, 10_000)
"""After so many steps in a row a finding is said (again)."""


@dataclass
class Finding:
    """Steps with one thing wrong."""

    reason: str
    """Of the latest."""
    first: int
    last: int
    steps: int = 0
    in_a_row: int = 0


class Watch:
    """Counts steps that teach nothing, and steps none of whose samples ends. Its `state` belongs into a checkpoint."""

    def __init__(self, facts: Facts, stop_after: int = 0) -> None:
        self.facts = facts
        self.stop_after = stop_after
        self.found: dict[str, Finding] = {}

    def step(self, number: int, metrics: Mapping[str, float]) -> Iterator[str]:
        """Warnings about step `number`, which made these metrics."""
        wrong = dict(self._wrong(metrics))
        for kind, finding in self.found.items():
            if kind not in wrong:
                finding.in_a_row = 0
        for kind, reason in wrong.items():
            finding = self.found.setdefault(kind, Finding(reason, number, number))
            finding.reason, finding.last = reason, number
            finding.steps += 1
            finding.in_a_row += 1
            if finding.in_a_row in SAID:
                yield said(kind, finding)

    @property
    def gave_up(self) -> str | None:
        """Why the run should stop here (`loop.stop_if_nothing_taught`), if it should."""
        finding = self.found.get(UNTAUGHT)
        if finding is None or not self.stop_after or finding.in_a_row < self.stop_after:
            return None
        return f"{finding.in_a_row} steps in a row taught nothing, the last because {finding.reason}"

    def warnings(self, steps: int) -> list[str]:
        """For the summary of a run of so many steps."""
        return [
            f"{finding.steps} of {steps} steps {VERDICTS[kind]}, first step {finding.first} and last step "
            f"{finding.last}"
            f"{f', because {finding.reason}' if kind == UNTAUGHT else ''}"
            for kind, finding in self.found.items()
        ]

    def state(self) -> dict[str, dict[str, Any]]:
        return {kind: asdict(finding) for kind, finding in self.found.items()}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        self.found = {kind: Finding(**finding) for kind, finding in state.items()}

    def _wrong(self, metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        if self.facts.trains and (reason := untaught(metrics, self.facts)) is not None:
            yield UNTAUGHT, reason
        if metrics.get("rollout/samples") and metrics.get("rollout/stopped_rate") == 0:
            yield ENDLESS, "every sample ran into sampling.max_tokens"


VERDICTS = {UNTAUGHT: "taught nothing", ENDLESS: "had no sample that ended by itself"}


def said(kind: str, finding: Finding) -> str:
    """One line about the latest step."""
    row = (
        f"{finding.in_a_row} steps in a row, up to step {finding.last},"
        if finding.in_a_row > 1
        else f"step {finding.last}"
    )
    return f"{row} {VERDICTS[kind]}: {finding.reason}"


def untaught(metrics: Mapping[str, float], facts: Facts) -> str | None:
    """Why a step with these metrics changed no weight; None: it may have."""
    learned = any(name.startswith("train/") for name in metrics)
    if learned and metrics.get("train/grad_norm") != 0:
        return None
    samples, abstained = metrics.get("rollout/samples", 0.0), metrics.get("reward/abstained", 0.0)
    if samples and samples == abstained:
        return "no sample has a score"
    if metrics.get("reward/std") == 0:
        return f"all samples have the reward {metrics['reward/mean']:g}"
    if (facts.samples_per_prompt or 1) > 1 and metrics.get("reward/equal_groups_rate") == 1:
        return "the samples of each prompt have one reward"
    if not learned:
        return "nothing was left to learn from"
    return "the gradient is 0"
