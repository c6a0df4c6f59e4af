"""The table behind `rlsys choose`: all of it can be reached, and all that it names is there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.commands.choose import (
    FEWER,
    LAPTOP,
    MEANING,
    TABLE,
    Choice,
    Compute,
    Data,
    Need,
    Row,
    answered,
    ask,
    choose,
    table,
    told,
)
from rlsys.config.experiment import Experiment
from rlsys.config.kinds import kind_of
from rlsys.config.paths import model_paths
from rlsys.config.schema import dotted
from rlsys.config.yaml_file import read
from rlsys.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
COMBINATIONS = list(product(get_args(Data), get_args(Compute), get_args(Need)))


def experiments(path: Path, overrides: Sequence[str] = (), *, this_machine: bool = True) -> list[Experiment]:
    """The one of an experiment's file, or those of a recipe's stages."""
    if kind_of(path) == "recipe":
        return load_recipe(path, overrides, this_machine=this_machine)[1]
    return [load(path, overrides, this_machine=this_machine)]


@pytest.mark.parametrize("config", sorted({row.config for row in TABLE}))
def test_every_named_config_is_valid(config: str):
    assert experiments(CONFIGS / config, this_machine=False)


def test_every_shipped_config_is_in_the_table():
    """But for demos and for what trains nothing."""
    heads = {str(path.relative_to(CONFIGS)): read(path)[0] for path in CONFIGS.glob("**/*.yaml")}
    measures = {file for file, head in heads.items() if head.get("method", {}).get("name") in ("evaluate", "merge")}
    measures |= {file for file in heads if kind_of(CONFIGS / file) == "judge-eval"}
    demos = {file for file, head in heads.items() if head["name"].startswith(("demo-", "quickstart"))}
    assert heads.keys() - demos - measures - {row.config for row in TABLE} == set()


def test_every_row_is_somebodys_answer():
    found = {row for data, compute, need in COMBINATIONS for row in choose(frozenset({data}), compute, need).rows}
    assert found == set(TABLE)


@pytest.mark.parametrize(("data", "compute", "need"), COMBINATIONS)
def test_each_combination_gives_a_method_or_says_what_would(data: Data, compute: Compute, need: Need):
    found = choose(frozenset({data}), compute, need)
    assert bool(found.rows) != bool(found.missing)
    order = get_args(Compute)
    for row in found.rows:
        assert need in row.needs
        assert row.data in (data, "none")
        assert compute == "laptop" or order.index(row.compute) <= order.index(compute)
    if found.missing and compute != "laptop":
        fitting = [row for row in TABLE if need in row.needs and order.index(row.compute) <= order.index(compute)]
        named = {row.data for row in fitting}
        assert all(name in found.missing for name in named), "each kind of data that would do with this compute"


@pytest.mark.parametrize(
    ("data", "compute", "need", "first"),
    [
        (("pairs",), "train", "style", "DPO"),
        (("pairs", "demonstrations"), "many", "style", "DPO"),
        (("labels",), "train", "safety", "KTO"),
        (("answers",), "many", "correctness", "GRPO"),
        (("answers", "pairs"), "one", "correctness", "GRPO"),
        (("reward_model",), "many", "style", "PPO"),
        (("reward_model",), "one", "style", "RAFT"),
        (("judge",), "many", "safety", "Constitutional AI"),
        (("demonstrations",), "train", "style", "SFT"),
        (("none",), "one", "data", "Self-Instruct"),
        (("pairs",), "many", "smaller", "on-policy distillation"),
    ],
)
def test_rules_of_thumb(data: tuple[Data, ...], compute: Compute, need: Need, first: str):
    assert choose(frozenset(data), compute, need).rows[0].method == first


def test_what_is_missing_is_said_plainly():
    assert (
        choose(frozenset({"none"}), "train", "style").missing
        == "nothing fits: style needs --data pairs or labels or demonstrations"
    )
    found = choose(frozenset({"reward_model"}), "train", "safety")
    assert (
        found.missing
        == "nothing fits: safety needs --compute one for RAFT, or --data pairs or labels or demonstrations"
    )
    assert choose(frozenset({"none"}), "many", "knowledge").missing == "nothing fits: knowledge needs --data texts"


def test_what_is_told():
    row, other = TABLE[:2]
    assert list(told(Choice((row, other)))) == [
        f"{row.method}: rlsys train configs/{row.config}",
        f"  why: {row.why}",
        f"  best when {row.best_when}",
        "  data of your own: docs/algorithms.md",
        f"or {other.method}: configs/{other.config}",
        f"  why: {other.why}",
        f"  best when {other.best_when}",
        "  data of your own: docs/rft.md",
        FEWER,
    ]


def test_a_config_fits_one_gpu_as_is_told():
    """What is chosen for a GPU or two is written for eight."""
    (row, *_) = choose(frozenset({"answers"}), "one", "correctness").rows
    own = [word for word in FEWER.split() if "=" in word and "STAGE" not in word]
    config = load(CONFIGS / row.config, own, this_machine=False)
    assert (config.policy.ranks, config.rollout.engines, config.cluster.colocate) == (1, 1, True)


@pytest.mark.parametrize(
    ("data", "need", "first"),
    [
        ("answers", "correctness", "GRPO: make quickstart (for your data: configs/grpo/gsm8k.yaml)"),
        ("pairs", "style", "DPO: make demo-preference (for your data: configs/dpo/pairs.yaml)"),
        ("judge", "safety", "Constitutional AI: make demo-cai (for your data: configs/constitutional/hh.yaml)"),
        (
            "demonstrations",
            "smaller",
            "on-policy distillation: make demo-distill (for your data: configs/on_policy_distill/chat.yaml)",
        ),
        ("none", "data", "Self-Instruct: configs/self_instruct/seed_tasks.yaml (no demo)"),
    ],
)
def test_a_laptop_gets_a_demo_if_there_is_one(data: Data, need: Need, first: str):
    lines = list(told(choose(frozenset({data}), "laptop", need)))
    assert (lines[0], lines[-1]) == (first, LAPTOP)


def test_a_demo_comes_first_and_nothing_is_lost_for_lack_of_one():
    assert [row.method for row in choose(frozenset({"demonstrations"}), "laptop", "smaller").rows] == [
        "on-policy distillation",
        "distillation on given rows",
    ]


@pytest.mark.parametrize("row", [row for row in TABLE if row.demo], ids=lambda row: row.method)
def test_a_demo_can_be_made(row: Row):
    assert f"\n{row.demo}: setup" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted({row.page for row in TABLE}))
def test_a_page_about_data_is_there(page: str):
    assert (ROOT / "docs" / page).is_file()


@pytest.mark.parametrize("config", sorted({row.config for row in TABLE}))
def test_a_config_fits_a_laptop_as_is_told(config: str, monkeypatch: pytest.MonkeyPatch):
    path = CONFIGS / config
    monkeypatch.setattr("rlsys.check.machine.address_to_join", lambda _: None)
    words = [word.strip(",").partition("=") for word in LAPTOP.split() if "=" in word and "STAGE" not in word]
    settings = {key: value for key, _, value in words}
    models = {key for key, value in settings.items() if value.isupper()}
    shipped = experiments(path, this_machine=False)
    own: list[str] = []
    for stage in shipped:
        changed = {dotted(key) for key, name in model_paths(stage).items() if not name.startswith("stage:")}
        given = {
            key: "playground:0.5m" if key in models else value
            for key, value in settings.items()
            if key not in models - changed
        }
        if stage.teacher is None:
            del given["teacher.ranks"]
        if (
            stage.data.train is not None and stage.data.train.path == "seed_tasks.jsonl"
        ):  # which whoever has no seeds of their own downloads
            given["data.train.path"] = "owner/seeds"
        own += [
            f"{f'{stage.name}.' * (kind_of(path) == 'recipe')}{key}={value}"
            for key, value in {**given, "cluster.gpus": 0}.items()
        ]
    for before, after in zip(shipped, experiments(path, own), strict=True):
        assert (after.policy.ranks, after.rollout.engines, after.cluster.cpus, after.model.dtype) == (
            1,
            1,
            8,
            "float32",
        )
        assert after.teacher is None or after.teacher.ranks == 1
        links = {key: name for key, name in model_paths(before).items() if name.startswith("stage:")}
        assert model_paths(after) == dict.fromkeys(model_paths(before), "playground:0.5m") | links


def test_answers_are_checked():
    assert answered("data", "pairs, judge") == ["pairs", "judge"]
    with pytest.raises(
        ConfigError, match="--data teacher: unknown; a model to learn from is what --need smaller is for"
    ):
        answered("data", "teacher")
    with pytest.raises(ConfigError, match=r"--need stile: unknown; did you mean style\? \(known: correctness, style, "):
        answered("need", "stile")
    with pytest.raises(ConfigError, match="--compute one,many: one of them"):
        answered("compute", "one,many")


def test_questions_are_asked_only_at_a_terminal(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert ask("need", said.append, lambda question: f"answer to {question}") == "answer to need"
    assert [line.split()[0] for line in said] == list(MEANING["need"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="--need is missing, and there is no terminal to ask at"):
        ask("need", said.append, lambda question: "")


def test_every_answer_has_a_meaning():
    assert [list(options) for options in MEANING.values()] == [list(get_args(kind)) for kind in (Data, Compute, Need)]


def test_the_page_holds_the_table():
    page = (ROOT / "docs/choose.md").read_text(encoding="utf-8")
    assert "\n".join(table()) + "\n" in page
    for options in MEANING.values():
        for name, meaning in options.items():
            assert f"| `{name}` | {meaning} |" in page
