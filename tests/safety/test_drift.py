"""Agreement of an old reward model with newer comparisons."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlsys.commands import drift as command
from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, DataError, RlsysError
from rlsys.playground.models import build
from rlsys.roles import Roles, SpawnRequest
from rlsys.safety.drift import Aged, newcombe, slices
from rlsys.samples import Group, Score, ScoredGroup
from rlsys.statistics.share import Share


def test_newcombe_s_own_example():
    """56/70 against 48/80 (Newcombe 1998, table II, example a, method 10): 0.2, from 0.0524 to 0.3339."""
    assert newcombe(Share(56, 70), Share(48, 80)) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_slices_are_by_time_and_ties_count_half():
    rows = [Aged(time, 0.9) for time in (3, 1, 2, 0)] + [Aged(9, 0.2), Aged(8, 0.5), Aged(7, 0.2), Aged(6, 0.2)]
    old, new = slices(rows, 2)
    assert (old.begin, old.agreement.count, old.agreement.of) == ("0", 4, 4)
    assert (new.begin, new.agreement.count, new.agreement.of) == ("6", 0.5, 4)
    assert (old.alarm, new.alarm) == (False, True)
    assert not any(one.alarm for one in slices([Aged(n, 0.8) for n in range(40)], 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("0.5m", tmp_path_factory.mktemp("made") / "model", seed=1)
    old = shutil.copytree(folder, folder.with_name("old"))
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen3ForSequenceClassification"]}))
    return old


class LikesLength:
    """Scores an answer by its trained tokens."""

    def score(self, groups: Iterable[Group]) -> Iterator[ScoredGroup]:
        for group in groups:
            scores = [float(one.response_length) for one in group.trajectories]
            results = tuple(Score(value, {command.PART: value}) for value in scores)
            yield ScoredGroup(group.prompt, group.trajectories, results)


@contextmanager
def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    assert request.needs == {"reward"}
    assert [one.name for one in experiment.reward_models] == [command.PART]
    yield Roles(reward=LikesLength())


def comparisons(file: Path, worse: int) -> DatasetConfig:
    """120 pairs; of the newer half the shorter answer is the better one in `worse`."""
    rows = [
        {"prompt": "p", "chosen": "a" if 60 <= n < 60 + worse else "abc", "rejected": "ab", "day": n}
        for n in range(120)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DatasetConfig(path=str(file))


def test_the_command_alarms_and_leaves_forecasts(model: Path, tmp_path: Path):
    """A reward model that likes length: the older half agrees, of the newer half 20 of 60 do not."""
    steady = command.prepared(str(model), comparisons(tmp_path / "a.jsonl", 0), "day", 2, [], tmp_path, "steady")
    folder, found = command.drift(steady, spawn)
    assert [one.agreement.count for one in found] == [60, 60]
    first = json.loads((folder / command.FORECASTS).read_text().splitlines()[0])
    assert first == {"probability": pytest.approx(1 / (1 + math.exp(-1))), "outcome": 1.0}
    moved = command.prepared(str(model), comparisons(tmp_path / "b.jsonl", 20), "day", 2, [], tmp_path, "moved")
    with pytest.raises(RlsysError, match="agreement fell in 1 of 1 newer slices, first from 60; train a new"):
        command.drift(moved, spawn)
    saved = json.loads((tmp_path / "moved" / command.RESULT).read_text())
    assert [(one["agreement"]["count"], one["alarm"]) for one in saved["slices"]] == [(60, False), (40, True)]


def test_mistakes_cost_no_start(model: Path, tmp_path: Path):
    rows = comparisons(tmp_path / "rows.jsonl", 0)
    with pytest.raises(DataError, match="row train:1 has no time in 'time'; --time names its column"):
        command.prepared(str(model), rows, "time", 2, [], tmp_path, "a")
    with pytest.raises(DataError, match="120 comparisons for 5 slices; wanted 30 for each"):
        command.prepared(str(model), rows, "day", 5, [], tmp_path, "a")
    with pytest.raises(ConfigError, match="a language model, which gives no scores"):
        command.prepared("playground:0.5m", rows, "day", 2, [], tmp_path, "a")
