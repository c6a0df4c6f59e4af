"""Whether the rows have the ground truths that the rewards read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rlsys.config.experiment import Experiment
from rlsys.data.answered import Answered
from rlsys.errors import NoUsableRow
from rlsys.registry import resolve


def check_truths(experiment: Experiment, rows: Sequence[Any], path: str) -> str:
    """Of rows with prompts: how many have no ground truth that the rewards can read, for people; nothing where all
    have, or no reward reads one. Raises NoUsableRow if no row has."""
    if "reward" not in experiment.method.facts.needs:
        return ""
    for spec in experiment.rewards:
        reward = resolve("rlsys.rewards", spec.name, "Reward")
        module = vars(sys.modules[reward.__module__])
        if "truth_problem" not in module:
            continue
        config = resolve("rlsys.rewards", spec.name, "Config").model_validate(spec.args)
        prompts = [row.prompt if isinstance(row, Answered) else row for row in rows]
        found = [module["truth_problem"](prompt, config) for prompt in prompts]
        problems = [problem for problem in found if problem is not None]
        if rows and len(problems) == len(rows):
            raise NoUsableRow(
                f"{path}: no row has a ground truth that reward {spec.name} can read (the first {problems[0]}); name "
                f"its column, as in {module['TRUTH_FIELDS']}, or choose another reward",
                f"the ground truth {problems[0]}",
            )
        if problems:
            return f"{len(problems):,} of {len(rows):,} without a ground truth that {spec.name} can read"
    return ""
