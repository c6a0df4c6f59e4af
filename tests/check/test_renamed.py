"""What has another name now is answered with it, in one line that names what was written or typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys import registry
from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.check.renamed import METHODS
from rlsys.commands.explain import explain
from rlsys.errors import ConfigError

CONFIG = """\
name: old
method: {name: grpo}
model: {path: "playground:0.5m"}
data: {train: {path: "playground:sort_digits"}}
rewards: [{name: exact_match}]
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("old.yaml").write_text(CONFIG)
    return Path("old.yaml")


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load("old.yaml", overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("algorithm: {name: grpo, clip_high: 0.3}", "algorithm: is called method now: method: {name: grpo, ...}"),
        ("algorithm: {name: distill}", "algorithm: is called method now: method: {name: on_policy_distill, ...}"),
        ("stage: {name: distill}", "stage: is called method now: method: {name: distill, ...}"),
        ("stage: {name: sft, batch_size: 8}", "stage: is called method now: method: {name: sft, ...}"),
        ("stage: {name: preference}", "stage: is called method now: method: {name: dpo, ...}"),
        ("stage: {name: preference, kind: ipo}", "stage: is called method now: method: {name: ipo, ...}"),
        ("stage: {name: preference, kind: hinge}", "stage: is called method now: method: {name: slic, ...}"),
        ("stage: {name: preference, kind: robust}", "stage: is called method now: method: {name: robust_dpo, ...}"),
        ("stage: {name: rejection}", "stage: is called method now: method: {name: rft, ...}"),
        ("stage: {name: rejection, keep: best}", "stage: is called method now: method: {name: raft, ...}"),
        ("stage: {name: judge_pairs}", "stage: is called method now: method: {name: rlaif, ...}"),
        ("stage: {name: revise}", "stage: is called method now: method: {name: constitutional, ...}"),
        ("stage: {name: prefer}", "stage: is called method now: method: {name: label_by_reward, ...}"),
        ("algorithm: grpo", "algorithm: is called method now: method: {name: NAME, ...}"),
        ("algorithm: {}", "algorithm: is called method now: method: {name: NAME, ...}"),
    ],
)
def test_an_old_section_is_answered_with_the_new_one(config: Path, section: str, told: str):
    config.write_text(CONFIG.replace("method: {name: grpo}", section))
    assert message() == f"old.yaml:2: {told}"


def test_each_old_section_is_a_line(config: Path):
    config.write_text(CONFIG.replace("method: {name: grpo}", "algorithm: null\nstage: {name: sft}"))
    assert message().splitlines() == [
        "old.yaml:2: algorithm: is called method now; leave this out",
        "old.yaml:3: stage: is called method now: method: {name: sft, ...}",
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("algorithm.clip_high=0.3", "algorithm.clip_high: is called method.clip_high now"),
        ("stage.batch_size=8", "stage.batch_size: is called method.batch_size now"),
        ("stage.kind=ipo", "stage.kind: is called method.name now"),
        ("algorithm=null", "algorithm: is called method now; leave this out"),
        ("stage={name: revise}", "stage: is called method now: method: {name: constitutional, ...}"),
        ("method.name=prefer", "method.name: 'prefer' is called label_by_reward now"),
        ("method={name: judge-pairs}", "method.name: 'judge-pairs' is called rlaif now"),
        ("method.name=rejection", "method.name: 'rejection' is called rft, rest_em or, with keep: best, raft now"),
        (
            "method.name=preference",
            "method.name: 'preference' is called dpo, cdpo, robust_dpo, slic, ipo, orpo or simpo, which the key "
            "kind used to choose now",
        ),
    ],
)
def test_what_was_typed_is_blamed(typed: str, told: str):
    assert message(typed) == f"command line {typed!r}: {told}"


def test_in_a_recipe_the_stage_is_named():
    Path("two.yaml").write_text(
        'name: two\nstages:\n  - name: one\n    stage: {name: sft}\n    model: {path: "playground:0.5m"}\n'
        '    data: {train: {path: "playground:sort_digits"}}\n    loop: {steps: 3}\n'
    )
    with pytest.raises(ConfigError) as error:
        load_recipe(Path("two.yaml"))
    assert str(error.value) == "two.yaml:4: stage one: stage: is called method now: method: {name: sft, ...}"
    Path("two.yaml").write_text(Path("two.yaml").read_text().replace("stage: {", "method: {"))
    with pytest.raises(ConfigError) as error:
        load_recipe(Path("two.yaml"), ["one.stage.batch_size=4"])
    assert (
        str(error.value) == "command line 'one.stage.batch_size=4': stage.batch_size: is called method.batch_size now"
    )


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("algorithm.clip_high", "algorithm.clip_high: is called method.clip_high now"),
        ("stage", "stage: is called method now"),
        (
            "algorithm.cliphigh",
            "algorithm.cliphigh: unknown key; did you mean method.clip_high? (`rlsys explain` lists the top level)",
        ),
    ],
)
def test_explain_knows_old_keys(key: str, told: str):
    with pytest.raises(ConfigError) as error:
        explain(key)
    assert str(error.value) == told


def test_the_new_names_are_methods_and_the_old_ones_are_not():
    known = registry.names("rlsys.methods", "Method")
    for old, new in METHODS.items():
        assert old not in known
        assert new.replace(",", " ").split()[0] in known
