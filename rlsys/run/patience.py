"""Which model of a run is its best one by held-out score, and how the run comes back to it (`loop.patience`)."""

from __future__ import annotations

import math
from pathlib import Path

from rlsys.roles import Roles
from rlsys.run.checkpoint import step_of
from rlsys.run.evaluation import Evaluation
from rlsys.run.folder import RunDir
from rlsys.run.metrics import MetricsLog
from rlsys.run.state import State


def remember(state: State, evaluation: Evaluation) -> bool:
    """Remember the evaluation; says whether it is the best so far."""
    score = evaluation.score
    state.after = evaluation.metrics
    better = score is not None and math.isfinite(score) and (state.best_score is None or score > state.best_score)
    if better:
        state.best_score = score
    state.waited = 0 if better else state.waited + 1
    return better


def return_to(best: Path, state: State, roles: Roles, run_dir: RunDir) -> None:
    """Take the model of a checkpoint, and what was measured of it, for the run's."""
    for role, model in roles.trained().items():
        model.load_state(best / role)
    step = step_of(best)
    logged = next(line for line in MetricsLog.read(run_dir.metrics) if line["step"] == step)
    # The log knows no NaN: what was none is null there.
    state.after = {
        name: float("nan") if value is None else value for name, value in logged.items() if name.startswith("eval/")
    }
    state.best_step = step
