"""What training an experiment's models takes, beside full training, as a table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsys.commands.tried_rows import begins_with
from rlsys.config.experiment import Experiment
from rlsys.models.cost import Cost, cost, placed
from rlsys.models.load import local_path
from rlsys.run.preflight import trained_models

COLUMNS = ("", "trained", "of all", "weights", "gradients", "optimizer", "adapter file")
MB = 1e6


def table(experiment: Experiment, earlier: Sequence[Experiment], *, download: bool = True) -> Iterator[str]:
    """Of each trained model two lines: as the config has it, and with all weights trained. `earlier`: a recipe's stages
    before this one, whose models have the sizes of what they begin with. Without `download`, nothing of models that are
    not here."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    whole = experiment.model.model_copy(update={"adapter": None})
    kind = experiment.model.adapter.kind if experiment.model.adapter is not None else "full"
    with tempfile.TemporaryDirectory() as built:
        for role, path, heads in trained_models(experiment):
            folder = local_path(begins_with(path, earlier), Path(built))
            if not download and not folder.is_dir():
                return
            config = experiment.critic if role == "critic" else experiment.policy
            if kind != "full":
                rows.append(row(f"{role}: {kind}", cost(placed(experiment.model, folder, heads), config)))
            rows.append(row(f"{role}: full", cost(placed(whole, folder, heads), config)))
    if len(rows) == 1:
        yield f"{experiment.name}: {experiment.method.name} trains nothing"
        return
    ranks, stage = experiment.policy.ranks, experiment.policy.zero_stage
    shared = [name for name, least in (("optimizer", 1), ("gradients", 2), ("weights", 3)) if stage >= least]
    spread = f"; of {', '.join(shared)} each rank has 1/{ranks}" if shared and ranks > 1 else ""
    what = f"{experiment.method.name} on {experiment.model.path}"
    yield f"{experiment.name}: {what}, ZeRO {stage} on {ranks} ranks{spread}"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        yield "  ".join(["   ", cells[0].ljust(len(first)), *others])


def row(name: str, found: Cost) -> tuple[str, ...]:
    share = f"{found.trained / found.total:.2%}"
    sizes = (found.weights, found.gradients, found.optimizer)
    file = "" if found.file is None else f"{found.file / MB:,.2f} MB"
    return name, f"{found.trained:,}", share, *(f"{size / MB:,.2f} MB" for size in sizes), file
