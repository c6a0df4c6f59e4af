"""What a page tells of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlsys.commands.report.blocks import Block
from rlsys.commands.report.bounds import Bounds
from rlsys.commands.report.changed_settings import from_defaults
from rlsys.commands.report.curves import Chart, charts
from rlsys.commands.report.sections import measured, of_feedback
from rlsys.commands.report.told_samples import Told, told
from rlsys.commands.sample_text import how_sampled, printable, reward_line
from rlsys.commands.standing import headline, progress
from rlsys.config import yaml_file
from rlsys.errors import ConfigError
from rlsys.run.ledger import Ledger
from rlsys.run.record import Record
from rlsys.samples import Sample


@dataclass(frozen=True, slots=True)
class Tell:
    """Texts as a page shows them: cut, and without characters that steer a display."""

    bounds: Bounds

    def text(self, text: str) -> str:
        return printable(self.bounds.cut(text))

    def facts(self, sample: Sample) -> str:
        advantage = "" if sample.advantage is None else f", advantage {sample.advantage:.4g}"
        return self.text(f"{reward_line(sample)}{advantage}; {how_sampled(sample)}")

    def browsed(self, sample: Sample, stage: str) -> dict[str, Any]:
        """For the browser of samples."""
        return {
            "id": sample.sample_id,
            "stage": stage,
            "phase": sample.phase,
            "step": sample.step,
            "prompt": self.text(sample.prompt),
            "answer": None if sample.answer is None else self.text(sample.answer),
            "response": self.text(sample.response),
            "reward": sample.reward,
            "parts": ", ".join(f"{name} {value:.6g}" for name, value in sample.reward_parts.items()),
            "abstention": None if sample.abstention is None else self.text(sample.abstention),
            "advantage": sample.advantage,
            "tokens": sum(sample.loss_mask),
            "ended": sample.finish_reason,
        }


@dataclass(frozen=True)
class Stage:
    record: Record
    progress: str
    headline: str
    error: str | None
    """The last line of the error that ended it."""
    measured: Sequence[Block]
    charts: Sequence[Chart]
    first_chart: int
    """Charts of earlier stages."""
    told: Told
    abstentions: Sequence[tuple[str, str, str]]
    feedback: Sequence[Block]
    faults: Sequence[tuple[str, str, str]]
    notes: Sequence[str]
    """What else happened to the run, and its warnings."""
    cost: Sequence[tuple[str, str, str]]
    differing: Sequence[tuple[str, str, str]]
    unreadable: str | None
    """Why `differing` can't be told."""
    config: str

    @classmethod
    def of(cls, record: Record, tell: Tell, first_chart: int) -> Stage:
        """Raises RunError for a run whose files are damaged."""
        run, summary, found, unreadable = record.run, record.summary, Told(), None
        if run.ledger.exists():
            with Ledger(run.ledger, read_only=True) as ledger:
                found = told(ledger, tell.bounds)
        try:
            differing = from_defaults(run)
        except ConfigError as error:
            differing, unreadable = [], str(error)
        return cls(
            record,
            progress(record),
            headline(record),
            last_line(record, tell) if record.standing == "failed" else None,
            [] if summary is None else [measured(summary)],
            charts(record.metrics, tell.bounds.points),
            first_chart,
            found,
            [(tell.text(reason), phase, f"{count:,}") for reason, phase, count in found.abstentions],
            [*of_feedback(record)],
            [(str(step), str(back_to), tell.text(error)) for step, back_to, error in found.faults],
            [] if summary is None else [*summary.get("notes", ()), *summary.get("warnings", ())],
            cost(record),
            differing,
            unreadable,
            yaml_file.dump({**record.config}),
        )


def cost(record: Record) -> list[tuple[str, str, str]]:
    """What was spent: a name, how much, and its share of the steps' time."""
    metrics, summary = record.metrics, record.summary
    times = {name for line in metrics for name in line if name.startswith("time/")}
    spent = {name.removeprefix("time/"): total(metrics, name) for name in times}
    steps = spent.pop("step", 0.0)
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    rows = [("steps", f"{steps:,.1f} s", "")] if steps else []
    rows += [(f"of which {name}", f"{seconds:,.1f} s", f"{seconds / steps:.1%}") for name, seconds in ordered if steps]
    if summary is not None:
        rows.append(("in all, with starting and writing the model", f"{summary['wall_seconds']:,.1f} s", ""))
    for label, name in (
        ("responses", "rollout/samples"),
        ("sampled tokens", "rollout/tokens"),
        ("tokens", "data/tokens"),
    ):
        if amount := total(metrics, name):
            rows.append((label, f"{amount:,.0f}", ""))
    if judge := (summary or {}).get("judge"):
        rows += [
            ("tokens that the judge read", f"{judge['prompt_tokens']:,.0f}", ""),
            ("tokens that the judge wrote", f"{judge['completion_tokens']:,.0f}", ""),
        ]
        rows += [("spent on the judge", f"{judge['cost']:.4g}", "")] * bool(judge["cost"])
    return rows


def total(metrics: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(line[name] for line in metrics if line.get(name) is not None)


def last_line(record: Record, tell: Tell) -> str:
    lines = record.run.error_log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return tell.text(lines[-1]) if lines else "error.log is empty"
