"""The tables of a report: what a run measured and made, and the audit of its AI feedback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlsys.commands.report import feedback
from rlsys.commands.report.blocks import Block, Heading, Table, Text, number
from rlsys.judging.auditing.quality import canaries_fail, kinds, run_quality
from rlsys.judging.auditing.quality_rows import quality_rows
from rlsys.run.ledger import Ledger
from rlsys.run.record import Record
from rlsys.run.summary import measured_rows, mode_of, work_rows

PREFERENCE = "preference"
"""The part of the reward that method `rlaif` makes of a label where nothing else scores the samples."""
CURVE_ROWS = 8
"""Evaluations shown, evenly spaced, first and last among them."""
ROUNDS = (
    "Mean of each part of the reward over all answers that were scored, as they stand after each round; round 0 is "
    "what the policy answered."
)
LABELS = "The labels of comparisons without those of one principle."
AGREES = " `agrees` is the share of labels that prefer the sample with the higher part of the reward."
NO_ABLATION = (
    "These numbers come from this one run, in which every principle took part: they say where a principle's effect "
    "shows, not what a model trained "
    "without it would be. That takes another run, with `judge.leave_out=[ID]`."
)


def of_run(record: Record) -> Iterator[Block]:
    yield Heading(f"{record.run.name}: {record.method}", level=2)
    if record.summary is None:
        yield Text(f"Not finished: step {record.step} of {'?' if record.steps is None else record.steps}.")
    else:
        yield measured(record.summary)
    yield from _curve(record.metrics)
    yield from of_feedback(record)


def measured(summary: Mapping[str, Any]) -> Table:
    """What a finished run measured, made and left out."""
    return Table(("measured", "value"), [*measured_rows(summary), *work_rows(summary)])


def _curve(metrics: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """Held-out measures of sampled answers, or of rows, at several steps."""
    lines = [line for line in metrics if any(name.startswith("eval/") for name in line)]
    if len(lines) < 3:
        return
    names = sorted({name for line in lines for name in line if name.startswith("eval/") and "abstained" not in name})
    names = (
        [name for name in names if mode_of(name) == "sampled"] or [name for name in names if not mode_of(name)] or names
    )
    places = sorted({round(place * (len(lines) - 1) / (CURVE_ROWS - 1)) for place in range(CURVE_ROWS)})
    rows = [[str(lines[place]["step"]), *(number(lines[place].get(name)) for name in names)] for place in places]
    yield Table(
        ("step", *(name.removeprefix("eval/").removesuffix("_sampled").replace("_", " ") for name in names)), rows
    )


def of_feedback(record: Record) -> Iterator[Block]:
    """What the ledger tells of the judge, of revisions, and of each principle; nothing without AI feedback."""
    run, judge, summary = record.run, record.config.get("judge") or {}, record.summary
    if not run.ledger.exists():
        return
    with Ledger(run.ledger, read_only=True) as ledger:
        verdicts = list(ledger.verdicts(texts=False))
        # Those of a whole run are many, and tell nothing where there was neither a judge nor this part of a reward.
        outcomes = list(ledger.outcomes()) if verdicts or ledger.scores(feedback.EVASIVE) else []
    if evasive := feedback.evasiveness(outcomes):
        yield Heading("Evasiveness")
        rows = [[name, f"{count:,}", number(share)] for name, (count, share) in evasive.items()]
        yield Table(("", "answers", "evasive"), rows)
    if not verdicts:
        return
    alarm = summary["judge"]["canary_alarm"] if summary and summary.get("judge") else None
    if alarm is None:
        alarm = canaries_fail(verdicts, judge.get("canary_alarm", 0.0)) is not None
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds(verdicts).items())
    yield Heading("The judge")
    yield Table(("", "value"), [*quality_rows(run_quality(verdicts, alarm)), ("verdicts by kind", counted)])
    yield from _principles(feedback.principles(verdicts))
    if found := feedback.rounds(outcomes):
        yield Heading("Rounds of revisions")
        yield Text(ROUNDS)
        parts = sorted({name for _, own in found.values() for name in own})
        rows = [
            [str(place), f"{count:,}", *(number(own.get(name)) for name in parts)]
            for place, (count, own) in found.items()
        ]
        yield Table(("round", "answers", *parts), rows)
    of_judge = {PREFERENCE, (judge.get("reward") or {}).get("name", PREFERENCE)}
    yield from _ablations(feedback.changes(outcomes, verdicts), feedback.leave_one_out(verdicts, outcomes, of_judge))


def _principles(found: Mapping[str, Mapping[str, int]]) -> Iterator[Block]:
    if not found:
        return
    yield Heading("Principles")
    yield Text("Questions asked by each.")
    columns = sorted({kind for own in found.values() for kind in own})
    total = sum(sum(own.values()) for own in found.values())
    rows = [
        [principle, *(f"{own.get(kind, 0):,}" for kind in columns), f"{sum(own.values()) / total:.1%}"]
        for principle, own in found.items()
    ]
    yield Table(("principle", *columns, "share"), rows)


def _ablations(
    changes: Mapping[str, Mapping[str, feedback.Change]], left_out: Mapping[str | None, Mapping[str, float]]
) -> Iterator[Block]:
    if not changes and not left_out:
        return
    yield Heading("One principle at a time")
    if changes:
        yield Text("Mean change of each part of the reward by revisions under the principle, with its standard error.")
        parts = sorted({name for own in changes.values() for name in own})
        rows = [
            [
                principle,
                f"{max(change.count for change in own.values()):,}",
                *(_changed(own.get(name)) for name in parts),
            ]
            for principle, own in changes.items()
        ]
        yield Table(("principle", "revisions", *parts), rows)
    if left_out:
        names = list(dict.fromkeys(name for own in left_out.values() for name in own))
        yield Text(LABELS + AGREES * any(name.startswith("agrees") for name in names))
        rows = [
            [
                "none left out" if principle is None else f"without {principle}",
                *(number(own.get(name), 0 if name == "comparisons" else 3) for name in names),
            ]
            for principle, own in left_out.items()
        ]
        yield Table(("", *(name.replace("_", " ") for name in names)), rows)
    yield Text(NO_ABLATION)


def _changed(change: feedback.Change | None) -> str:
    if change is None:
        return ""
    return f"{change.mean:+.3f}" if change.error is None else f"{change.mean:+.3f} ± {change.error:.3f}"
