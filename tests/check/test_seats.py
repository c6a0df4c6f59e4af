"""Who is started: with an adapter that leaves the base alone no reference is, as the policy is it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlsys.check.load import load
from rlsys.check.seats import seating, shares_reference, told_of_reference
from rlsys.cli import app
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError
from rlsys.run.changes import MAY_CHANGE

COMMON = "name: x\nmodel: {path: 'playground:0.5m', dtype: float32}\nloop: {steps: 1}\ncluster: {cpus: 16}\n"
DPO = COMMON + "method: {name: dpo, batch_size: 2, max_tokens: 64}\ndata: {train: {path: pairs.jsonl}}\n"
PPO = (
    COMMON + "method: {name: ppo, prompts_per_step: 2}\nrewards: [{name: exact_match}]\n"
    "sampling: {max_tokens: 8}\ndata: {train: {path: 'playground:add'}, max_prompt_tokens: 32}\n"
)
LORA = "model.adapter={kind: lora}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "1+1=", "chosen": "2", "rejected": "3"}\n' * 4, encoding="utf-8")
    (tmp_path / "dpo.yaml").write_text(DPO, encoding="utf-8")
    (tmp_path / "ppo.yaml").write_text(PPO, encoding="utf-8")
    return tmp_path


def seats(experiment: Experiment) -> dict[str, int]:
    return {role: len(own) for role, own in seating(experiment, experiment.method.facts.needs, False).seats.items()}


@pytest.mark.parametrize("kind", ["lora", "rslora", "lora_plus", "dora", "vera", "ia3"])
def test_ppo_with_an_adapter_has_no_reference_of_its_own(here: Path, kind: str) -> None:
    with_one = {"policy": 1, "critic": 1, "rollout": 1, "reference": 1, "reward": 1}
    assert seats(load(here / "ppo.yaml", [])) == with_one
    shared = load(here / "ppo.yaml", [f"model.adapter={{kind: {kind}}}"])
    assert seats(shared) == {role: count for role, count in with_one.items() if role != "reference"}
    colocated = load(here / "ppo.yaml", [f"model.adapter={{kind: {kind}}}", "cluster.colocate=true"])
    assert "reference" not in seats(colocated)


@pytest.mark.parametrize(
    ("overrides", "shares"),
    [
        ((), False),
        ((LORA,), True),
        (("model.adapter={kind: bottleneck}",), True),
        (("model.adapter={kind: prefix}",), True),
        (("model.adapter={kind: bitfit}",), False),
        (("model.adapter={kind: freeze, layers: 1}",), False),
        (("model.adapter={kind: lora, modules_to_save: [model.norm]}",), False),
        ((LORA, "reference.share=never"), False),
        ((LORA, "reference.path=playground:0.5m"), True),
        ((LORA, "reference.path=playground:25m"), False),
        ((LORA, "model.adapter.path=runs/before/final"), True),  # the base is the reference of a run that goes on, too
    ],
)
def test_it_is_shared_where_switched_off_the_policy_is_the_same_model(
    here: Path, overrides: tuple[str, ...], shares: bool
) -> None:
    experiment = load(here / "dpo.yaml", overrides)
    assert shares_reference(experiment, experiment.method.facts.needs) == shares
    assert seats(experiment) == {"policy": 1} | ({} if shares else {"reference": 1})


def test_a_folder_is_the_same_however_it_is_written(here: Path) -> None:
    (here / "m").mkdir()
    (here / "m" / "config.json").write_text("{}", encoding="utf-8")
    experiment = load(here / "dpo.yaml", [LORA, "model.path=m", f"reference.path={here}/./m"])
    assert shares_reference(experiment, experiment.method.facts.needs)


def test_settings_of_processes_that_are_not_there_are_refused(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"reference.threads: has no effect: the reference is the policy with its "):
        load(here / "dpo.yaml", [LORA, "reference.threads=2"])
    load(here / "dpo.yaml", [LORA, "reference.threads=2", "reference.share=never"])


def test_a_run_may_go_on_with_the_other_choice() -> None:
    """The log-probs are the same."""
    assert "reference.share" in MAY_CHANGE


def test_what_is_told_of_it(here: Path) -> None:
    """By validate and cost, with an adapter only."""
    none = "the reference is the policy with its adapter switched off: no second copy is loaded"
    for overrides, told in (
        ([LORA], none),
        (
            ["model.adapter={kind: freeze, layers: 1}"],
            "the reference is a model of its own: freeze here trains weights",
        ),
        ([LORA, "reference.share=never"], "the reference is a model of its own"),
        ([], "None"),
    ):
        assert str(told_of_reference(load(here / "dpo.yaml", overrides))).startswith(told)
    for command in ("cost", "validate"):
        said = CliRunner().invoke(app, [command, "dpo.yaml", LORA])
        assert said.exit_code == 0, said.output
        assert said.output.count(none) == 1
