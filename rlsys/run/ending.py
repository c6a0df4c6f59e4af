"""What a run leaves when its loop is over: its models, its summary, and the closing table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rlsys.config.experiment import Experiment
from rlsys.errors import DataError, RunError, command
from rlsys.models.reward_scale import write_scale
from rlsys.models.stop_tokens import save_generation_config
from rlsys.roles import Roles, SpawnRequest
from rlsys.run.fisher import add_fisher
from rlsys.run.folder import RunDir
from rlsys.run.inputs import Inputs
from rlsys.run.loop import Loop
from rlsys.run.state import COUNTS, State
from rlsys.run.summary import summarize, summary_rows


def finish(loop: Loop, request: SpawnRequest, rows: Inputs, warnings: Sequence[str], started: float) -> dict[str, Any]:
    """Everything; returns the summary. `started`: when the run did, by `time.monotonic`."""
    experiment, run_dir, state = loop.experiment, loop.run_dir, loop.state
    check_made(experiment, run_dir, state)
    if experiment.ewc is not None and experiment.ewc.samples:
        with loop.progress.timed("fisher"):
            add_fisher(loop, experiment.ewc.samples)
    with loop.progress.timed("export"):
        hashes = export(loop.roles, run_dir, state, request)
    verdicts = list(loop.ledger.verdicts(texts=False))
    summary = summarize(run_dir, state, rows.reports, loop.source, hashes, time.monotonic() - started, verdicts)
    close_account(loop, summary, warnings)
    return summary


def close_account(loop: Loop, summary: dict[str, Any], warnings: Sequence[str]) -> None:
    """Write the summary and show it. Raises RunError if the run gave up."""
    state, run_dir, progress = loop.state, loop.run_dir, loop.progress
    summary["notes"] = state.notes
    summary["restarts"] = state.restarts
    unseen = loop.alarms.unseen({**state.first, **state.last, **state.after}) if state.step else []
    summary["warnings"] = [*warnings, *loop.watch.warnings(state.step), *unseen]
    run_dir.write_summary(summary)
    progress.table(summary_rows(summary))
    for warning in summary["warnings"]:
        progress.warn(warning)
    if loop.watch.gave_up:
        raise RunError(
            f"{run_dir.path}: ended at step {state.step}: {state.done}; its samples: "
            f"`{command('rlsys', 'trace', '--run', run_dir.path)}`"
        )


def check_made(experiment: Experiment, run_dir: RunDir, state: State) -> None:
    """Raises DataError if a method that makes a data set made no row at all: whoever is to read it could only say that
    there is no file."""
    if experiment.method.facts.makes == "data set" and not run_dir.dataset.exists():
        # Counts of groups of prompts have a further slash.
        counts = {name.removeprefix(COUNTS): count for name, count in state.counts.items() if count}
        told = ", ".join(f"{count:,.0f} {name.replace('_', ' ')}" for name, count in counts.items() if "/" not in name)
        raise DataError(
            f"{run_dir.path}: not one row was made of {state.samples:,} samples ({told}); see some with "
            f"`{command('rlsys', 'trace', '--run', run_dir.path)}`, then "
            f"sample more, ask for less, or begin with a better model"
        )


def export(roles: Roles, run_dir: RunDir, state: State, request: SpawnRequest) -> dict[str, str]:
    """Write the trained models; returns the hash of each. The run's model is `final`; a critic is kept beside it, for
    whoever goes on."""
    for role, model in roles.trained().items():
        model.export(run_dir.path / "critic" if role == "critic" else run_dir.final)
    if roles.policy is not None:
        save_generation_config(run_dir.final, request.model, request.stop_ids)
    if roles.reward_model is not None and "eval/score_std" in state.after:
        write_scale(run_dir.final, state.after["eval/score_mean"], state.after["eval/score_std"])
    return {role: model.weight_hash() for role, model in roles.trained().items()}
