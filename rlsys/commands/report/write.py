"""`report.md`: what each stage of a recipe, or a run, measured and made, and the audit of its AI feedback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsys.commands.report import feedback
from rlsys.commands.report.markdown import number, table
from rlsys.config import yaml_file
from rlsys.errors import RunError
from rlsys.files import write_whole
from rlsys.judging.auditing.quality import canaries_fail, kinds, run_quality
from rlsys.judging.auditing.quality_rows import quality_rows
from rlsys.run.folder import RunDir, runs_in, saved_method
from rlsys.run.ledger import Ledger
from rlsys.run.metrics import MetricsLog
from rlsys.run.summary import measured_rows, mode_of, work_rows

REPORT = "report.md"
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


def report(folder: Path) -> str:
    """Write `report.md` into the folder of a run or a recipe, finished or not; returns its text. Raises RunError if it
    is neither, or if nothing of it has begun."""
    runs = runs_in(folder)
    if not runs:
        raise RunError(f"{folder}: none of the recipe's stages has begun; there is nothing to report")
    path = folder.expanduser().absolute()
    lines = [f"# {path.name}", ""]
    for run in runs:
        lines += [*_run(run)]
    text = "\n".join(lines).rstrip() + "\n"
    write_whole(path / REPORT, text)
    return text


def _run(run: RunDir) -> Iterator[str]:
    config, _ = yaml_file.read(run.config)
    yield from (f"## {run.name}: {saved_method(config, run.config)}", "")
    summary = json.loads(run.summary.read_text(encoding="utf-8")) if run.summary.exists() else None
    metrics = MetricsLog.read(run.metrics) if run.metrics.exists() else []
    if summary is None:
        steps = (config.get("loop") or {}).get("steps", "?")
        yield from (f"Not finished: step {metrics[-1]['step'] if metrics else 0} of {steps}.", "")
    else:
        yield from table(("measured", "value"), [*measured_rows(summary), *work_rows(summary)])
    yield from _curve(metrics)
    if run.ledger.exists():
        yield from _feedback(run, config.get("judge") or {}, summary)


def _curve(metrics: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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
    yield from table(
        ("step", *(name.removeprefix("eval/").removesuffix("_sampled").replace("_", " ") for name in names)), rows
    )


def _feedback(run: RunDir, judge: Mapping[str, Any], summary: Mapping[str, Any] | None) -> Iterator[str]:
    with Ledger(run.ledger, read_only=True) as ledger:
        verdicts, outcomes = list(ledger.verdicts(texts=False)), list(ledger.outcomes())
    if evasive := feedback.evasiveness(outcomes):
        yield from ("### Evasiveness", "")
        rows = [[name, f"{count:,}", number(share)] for name, (count, share) in evasive.items()]
        yield from table(("", "answers", "evasive"), rows)
    if not verdicts:
        return
    alarm = summary["judge"]["canary_alarm"] if summary and summary.get("judge") else None
    if alarm is None:
        alarm = canaries_fail(verdicts, judge.get("canary_alarm", 0.0)) is not None
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds(verdicts).items())
    yield from ("### The judge", "")
    yield from table(("", "value"), [*quality_rows(run_quality(verdicts, alarm)), ("verdicts by kind", counted)])
    yield from _principles(feedback.principles(verdicts))
    if found := feedback.rounds(outcomes):
        yield from ("### Rounds of revisions", "", ROUNDS, "")
        parts = sorted({name for _, own in found.values() for name in own})
        rows = [
            [str(place), f"{count:,}", *(number(own.get(name)) for name in parts)]
            for place, (count, own) in found.items()
        ]
        yield from table(("round", "answers", *parts), rows)
    of_judge = {PREFERENCE, (judge.get("reward") or {}).get("name", PREFERENCE)}
    yield from _ablations(feedback.changes(outcomes, verdicts), feedback.leave_one_out(verdicts, outcomes, of_judge))


def _principles(found: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    if not found:
        return
    yield from ("### Principles", "", "Questions asked by each.", "")
    columns = sorted({kind for own in found.values() for kind in own})
    total = sum(sum(own.values()) for own in found.values())
    rows = [
        [principle, *(f"{own.get(kind, 0):,}" for kind in columns), f"{sum(own.values()) / total:.1%}"]
        for principle, own in found.items()
    ]
    yield from table(("principle", *columns, "share"), rows)


def _ablations(
    changes: Mapping[str, Mapping[str, feedback.Change]], left_out: Mapping[str | None, Mapping[str, float]]
) -> Iterator[str]:
    if not changes and not left_out:
        return
    yield from ("### One principle at a time", "")
    if changes:
        yield from (
            "Mean change of each part of the reward by revisions under the principle, with its standard error.",
            "",
        )
        parts = sorted({name for own in changes.values() for name in own})
        rows = [
            [
                principle,
                f"{max(change.count for change in own.values()):,}",
                *(_changed(own.get(name)) for name in parts),
            ]
            for principle, own in changes.items()
        ]
        yield from table(("principle", "revisions", *parts), rows)
    if left_out:
        names = list(dict.fromkeys(name for own in left_out.values() for name in own))
        yield from (LABELS + AGREES * any(name.startswith("agrees") for name in names), "")
        rows = [
            [
                "none left out" if principle is None else f"without {principle}",
                *(number(own.get(name), 0 if name == "comparisons" else 3) for name in names),
            ]
            for principle, own in left_out.items()
        ]
        yield from table(("", *(name.replace("_", " ") for name in names)), rows)
    yield from (NO_ABLATION, "")


def _changed(change: feedback.Change | None) -> str:
    if change is None:
        return ""
    return f"{change.mean:+.3f}" if change.error is None else f"{change.mean:+.3f} ± {change.error:.3f}"
