"""Every benchmark and every demo that is one, once, as small as it gets: that it runs, and what it leaves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as bench
from benchmarks import adapter, adapter_sync, estimators, forgetting, merge, spin
from benchmarks.adapter_kinds import __main__ as adapter_kinds
from benchmarks.over_optimization import __main__ as over_optimization
from benchmarks.preference import __main__ as preference
from benchmarks.red_team import __main__ as red_team
from benchmarks.result import Result
from benchmarks.shared_actors import sharing
from benchmarks.workload import PAD_ID, Settings, experiment
from rlsys.roles import Spawn, SpawnRequest

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def called(command: Callable[..., None], *arguments: str | Path) -> str:
    """What a command that works printed."""
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings("0.5m", 1, tmp_path_factory.mktemp("benchmarks"), quick=True)


@pytest.fixture(scope="module")
def shared(ray_session: None, settings: Settings) -> Iterator[Spawn]:
    """Starts nothing: the benchmarks share one set of actors. `overhead`, which trains, comes last."""
    from actors.spawn import spawn

    config = experiment(settings)
    request = SpawnRequest(config.method.facts.needs, settings.model, optimizer_steps=1000, pad_id=PAD_ID)
    with spawn(config, request) as roles:
        yield sharing(roles, settings.folder / "start")


def measured(name: str, settings: Settings, spawn: Spawn) -> Result:
    (result,) = import_module(f"benchmarks.{name}").run(settings, spawn)
    assert (result.benchmark, result.size) == (name, "0.5m")
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in result.ratios)
    return result


def test_trainer(settings: Settings, shared: Spawn):
    """The benchmark itself fails unless both trainers have the same losses."""
    found = measured("trainer", settings, shared)
    assert 8 * 32 <= found.details["tokens per step"] <= 8 * 96


def test_rollout(settings: Settings, shared: Spawn):
    """The benchmark itself fails unless both samplers give as many tokens."""
    found = measured("rollout", settings, shared)
    assert found.details["requests"] == 2 * 2
    assert 4 <= found.details["tokens per call"] <= 2 * 2 * 4


def test_sync(settings: Settings, shared: Spawn):
    """One memcpy of as many bytes as the model's file has, its header aside."""
    found = measured("sync", settings, shared)
    file = settings.model / "model.safetensors"
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert found.details["bytes"] == file.stat().st_size - header
    assert 0 <= found.details["probe gap"] < 1e-3


def test_adapter_sync(ray_session: None, settings: Settings):
    """Rank 16 on the linear layers of the smallest model, three layers of width 128: counted by hand."""
    from actors.spawn import spawn

    copy, whole, sizes = adapter_sync.run(settings, spawn)
    assert copy.details["bytes"] == 4 * 3 * 16 * (4 * 256 + 3 * 384)
    assert copy.details["tensors"] == 3 * 7 * 2
    file = (settings.model / "model.safetensors").stat().st_size
    assert sizes.ratio == pytest.approx(copy.details["bytes"] / file, rel=0.01)
    assert whole.ratio > 0


def unused(*_: object) -> Any:
    raise AssertionError("starts no actors")


def test_adapter(settings: Settings):
    """The benchmark itself fails unless both sides begin with one loss, and both references say the same. It starts
    processes of its own."""
    time, memory, both = adapter.run(settings, unused)
    assert time.ratio > 0
    # Weights, gradients, copies and Adam's two moments of 0.5M numbers of 4 bytes.
    assert memory.baseline[0] > 5 * 4 * 0.5
    assert both.ratio == both.ours[0] / (memory.ours[0] + both.details["reference's process, MB"]) < 1


def test_overhead(settings: Settings, shared: Spawn):
    assert 0 < measured("overhead", settings, shared).ratio < 1


def test_startup_through_the_command(tmp_path: Path):
    """In a process of its own with a Ray of its own, as all benchmarks are run."""
    called(bench.main, "--quick", "--only", "startup", "--repeats", "1", "--results", tmp_path)
    (file,) = tmp_path.glob("*.json")
    saved = json.loads(file.read_text())
    assert (saved["failures"], saved["quick"]) == ({}, True)
    (found,) = saved["results"]
    assert found["benchmark"] == "startup"
    assert 0.2 < found["ratio"] < 5


def test_estimators(ray_session: None, tmp_path: Path):
    file = tmp_path / "found.json"
    called(
        estimators.main, "--quick", "--only", "rloo", "--seeds", "1", "--output", tmp_path / "runs", "--results", file
    )
    ((name, (outcome,)),) = json.loads(file.read_text())["results"].items()
    assert name == "rloo"
    assert 0 <= outcome["before"] <= 1
    assert 0 <= outcome["after"] <= 1


def test_spin(ray_session: None, tmp_path: Path):
    printed = called(spin.main, "--quick", "--output", tmp_path)
    assert "KL(data || policy)" in printed
    start, after = json.loads((tmp_path / "demo-spin" / "spin.json").read_text())["iterations"]
    assert (start["number"], after["number"]) == (0, 1)
    assert after["fell_by"] == pytest.approx(start["distance"] - after["distance"])
    assert after["loss"] > 0


def test_merge(ray_session: None, tmp_path: Path):
    """The greedy soup of one model is that model: here a merged one, which vLLM loads to measure it."""
    printed = called(merge.main, "--quick", "--output", tmp_path)
    assert "two tasks, trained apart" in printed
    found = json.loads((tmp_path / "demo-merge" / "merge.json").read_text())
    assert found.keys() == {*merge.TRAINED, *merge.MERGED, *merge.SEEDS, *merge.SOUPS}
    assert found["greedy_soup"] == found["soup"]
    (measured,) = (tmp_path / "demo-merge" / "greedy_soup" / "measured").iterdir()
    assert (measured / "summary.json").is_file()


def test_forgetting(ray_session: None, tmp_path: Path):
    """One step of each stage; what EWC needs of the first task is there."""
    printed = called(forgetting.main, "--quick", "--seed", "1", "--output", tmp_path)
    assert "sorting, then letters; seeds 1" in printed
    found = json.loads((tmp_path / "demo-continual.json").read_text())
    assert found.keys() == forgetting.CELLS.keys()
    assert all(0 <= score <= 1 for cell in found.values() for row in cell["1"]["matrix"] for score in row)
    recipe = tmp_path / "demo-continual-seed-1"
    kept = [stage for stage in forgetting.STAGES if (recipe / stage / "final" / "ewc" / "fisher.safetensors").is_file()]
    assert kept == ["sort", "sort_lora"]
    # The first step is at the old task's weights: full weights are at theta*, where the penalty is 0.
    (line,) = [json.loads(text) for text in (recipe / "letters_ewc" / "metrics.jsonl").read_text().splitlines()]
    assert line["train/ewc_penalty"] == 0


def test_adapter_kinds(ray_session: None, tmp_path: Path):
    """20 vectors of width 128, float32, in a file of their own; no sampler could be sent them."""
    printed = called(
        adapter_kinds.main, "--quick", "--only", "prompt", "--methods", "sft", "--methods", "grpo", "--output", tmp_path
    )
    ((before, after),) = re.findall(r"\| `prompt` \| 2,560 \| 0.010 \| (\S+) -> (\S+) \| refused \|", printed)
    # One step of vectors that begin as nothing: little learned, by a model that knows as little, ln 264 = 5.58 a token.
    assert 5 < float(after) <= float(before) < 5.58


def test_preference(ray_session: None, tmp_path: Path):
    """One method of each kind: pairs, labels, its own samples."""
    only = [part for name in ("dpo", "kto", "online_dpo") for part in ("--only", name)]
    called(preference.main, "--quick", "--output", tmp_path, *only)
    outcomes = json.loads((tmp_path / "demo-preference-0" / "preference.json").read_text())["outcomes"]
    assert list(outcomes) == ["start", "dpo", "kto", "online_dpo"]
    assert (outcomes["start"]["preferred"], outcomes["start"]["win_rate"]) == (0.5, 0.5)


@pytest.mark.timeout(600)
def test_over_optimization(ray_session: None, tmp_path: Path):
    printed = called(over_optimization.main, "--quick", "--no-figure", "--output", tmp_path)
    assert "at the same KL" in printed
    saved: dict[str, Any] = json.loads((tmp_path / "over-optimization" / "over_optimization.json").read_text())
    points = {name: [point["at"] for point in curve["points"]] for name, curve in saved["curves"].items()}
    assert points == {
        "best-of-n": [1, 2, 4, 8],
        "PPO, KL penalty 0.001": [0, 1, 2],
        "PPO, KL penalty 0.1": [0, 1, 2],
    }


def test_red_team(ray_session: None, tmp_path: Path):
    """A model that has learned nothing neither refuses nor complies; what it said instead is learned from."""
    asked = ("--quick", "--rounds", "1", "--base", "playground:0.5m", "--output", tmp_path)
    assert "harmless refused" in called(red_team.main, *asked)
    before, after = json.loads((tmp_path / "red_team_0.json").read_text())["rounds"]
    assert (before["by_rule"]["total"]["share"], before["strict"]["total"]["share"]) == (1.0, 0.0)
    assert [one["over_refusal"]["harmless"]["of"] for one in (before, after)] == [4, 4]
    assert before["new_rows"] == 2 * 4 * len(red_team.data.DISGUISES)
