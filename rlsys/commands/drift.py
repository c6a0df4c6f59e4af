"""`rlsys drift`: an old reward model against newer comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlsys.commands.named_models import model_path
from rlsys.config.dataset import DatasetConfig
from rlsys.config.document import Document, Override
from rlsys.config.experiment import Experiment
from rlsys.data.load import Comparison
from rlsys.data.nested import ABSENT, look
from rlsys.errors import ConfigError, DataError, RlsysError
from rlsys.files import to_json, write_whole
from rlsys.methods import evaluate
from rlsys.roles import Reward, Spawn, SpawnRequest
from rlsys.run.folder import RunDir
from rlsys.run.forecasts import of_pairs
from rlsys.run.progress import print_table
from rlsys.run.summary import from_here
from rlsys.safety.drift import Aged, Slice, slices
from rlsys.samples import Abstention, Group, Prompt, Trajectory

PART = "old"
"""What the reward model is called among the parts of the reward."""
RESULT, FORECASTS = "drift.json", "forecasts.jsonl"
FEWEST = 30
"""Comparisons of a slice: fewer say too little."""


@dataclass(frozen=True)
class Drift:
    """A reward model, not started yet, and the comparisons that it is asked about."""

    model: str
    experiment: Experiment
    request: SpawnRequest
    rows: tuple[Comparison, ...]
    times: tuple[str | float, ...]
    slices: int
    output: Path
    name: str


def prepared(
    model: str, data: DatasetConfig, time: str, count: int, settings: Sequence[Override], output: Path, name: str
) -> Drift:
    """Whatever is wrong is found before anything starts. Raises ConfigError, DataError."""
    from rlsys.data.load import load_comparisons
    from rlsys.models.load import load_config, load_tokenizer, local_path
    from rlsys.models.value_model import is_value_model

    path = model_path(model)
    folder = local_path(path, output / "playground")
    if not is_value_model(load_config(folder)):
        raise ConfigError(
            f"{model}: a language model, which gives no scores; give a reward model (method reward_model)"
        )
    document = Document.empty("rlsys drift")
    document.data = {"name": PART, "model": {"path": path}, "data": {}, "loop": {"steps": 1}}
    document.data |= {"method": evaluate.Config().model_dump(), "reward_models": [{"name": PART, "path": str(folder)}]}
    for setting in settings:
        document.override(setting)
    experiment = document.validated(Experiment).model_copy(update={"method": evaluate.Config()})
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer.pad_token_id, int), "load_tokenizer sees to it that there is a pad token"
    longest = load_config(folder).get_text_config().max_position_embeddings
    rows = (*load_comparisons(data, tokenizer, longest, strict=True, quarantine=None).rows,)
    if len(rows) < FEWEST * count:
        raise DataError(f"{data.path}: {len(rows)} comparisons for {count} slices; wanted {FEWEST} for each")
    request = SpawnRequest(frozenset({"reward"}), folder, 1, tokenizer.pad_token_id)
    return Drift(
        model, experiment, request, rows, tuple(_time(row, time, data.path) for row in rows), count, output, name
    )


def drift(asked: Drift, spawn: Spawn) -> tuple[Path, list[Slice]]:
    """Ask, and write everything. Raises RlsysError where an alarm is given."""
    folder = RunDir.create(asked.output, asked.name).path
    with spawn(asked.experiment, asked.request) as roles:
        assert roles.reward is not None, "it was asked for"
        probabilities = better(roles.reward, asked.rows)
    found = slices([Aged(*both) for both in zip(asked.times, probabilities, strict=True)], asked.slices)
    lines = [{"probability": one.probability, "outcome": one.outcome} for one in of_pairs(probabilities)]
    write_whole(folder / FORECASTS, "".join(json.dumps(line) + "\n" for line in lines))
    plain = {"model": asked.model, "slices": [{**asdict(one), "alarm": one.alarm} for one in found]}
    write_whole(folder / RESULT, to_json(plain, indent=2) + "\n")
    rows = [("from", "agreement", "below the first by"), *(_shown(one) for one in found)]
    print_table(f"{asked.model} against newer comparisons", [*rows, ("results", from_here(str(folder)), "")])
    if late := [one.begin for one in found if one.alarm]:
        raise RlsysError(
            f"{asked.model}: preferences have drifted: agreement fell in {len(late)} of {len(found) - 1} newer slices, "
            f"first from {late[0]}; train a new reward model on newer comparisons"
        )
    return folder, found


def better(reward: Reward, rows: Sequence[Comparison]) -> list[float]:
    """Of each comparison, by its best and its worst answer, sigmoid(score of the one - score of the other),
    Bradley-Terry. Raises RlsysError for an answer without a score."""
    groups = [Group(Prompt(row.row_id, "", ()), tuple(map(_sample, [row] * 2, _ends(row)))) for row in rows]
    found: dict[str, float] = {}
    for group in reward.score(groups):
        if missing := next((one.reason for one in group.results if isinstance(one, Abstention)), None):
            raise RlsysError(f"row {group.prompt.prompt_id}: an answer has no score: {missing}")
        best, worst = (result.parts[PART] for result in group.results if not isinstance(result, Abstention))
        found[group.prompt.prompt_id] = 1 / (1 + math.exp(-max(min(best - worst, 700.0), -700.0)))
    return [found[row.row_id] for row in rows]


def _ends(row: Comparison) -> tuple[int, int]:
    return row.grades.index(max(row.grades)), row.grades.index(min(row.grades))


def _sample(row: Comparison, place: int) -> Trajectory:
    """An answer as reward models read one; nothing sampled it."""
    answer = row.answers[place]
    nothing = [0.0] * len(answer.token_ids)
    versions, ids = [0] * len(answer.token_ids), f"{row.row_id}/{place}"
    tokens, mask = [*answer.token_ids], [*answer.loss_mask]
    return Trajectory(ids, row.row_id, place, tokens, mask, nothing, versions, "stop", "")


def _times(rows: Sequence[Comparison], column: str, path: str) -> tuple[str | float, ...]:
    found = tuple(_time(row, column, path) for row in rows)
    if len({isinstance(one, str) for one in found}) > 1:
        raise DataError(f"{path}: {column!r} is text in some rows and a number in others; wanted one kind")
    return found


def _time(row: Comparison, column: str, path: str) -> str | float:
    found = look(row.columns, column)
    if found is ABSENT or not isinstance(found, (str, int, float)) or isinstance(found, bool):
        raise DataError(f"{path}: row {row.row_id} has no time in {column!r}; --time names its column")
    return found


def _shown(one: Slice) -> tuple[str, str, str]:
    low, high = one.below_first
    return one.begin, str(one.agreement), f"{low:+.1%} to {high:+.1%}{'  ALARM' if one.alarm else ''}"
