"""What of an adapter validate refuses before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlsys.check.load import load
from rlsys.cli import app
from rlsys.commands.validate import validated
from rlsys.errors import ConfigError

COMMON = "name: x\nmodel: {path: 'playground:0.5m', dtype: float32}\nloop: {steps: 1}\ncluster: {cpus: 16}\n"
DPO = COMMON + "method: {name: dpo, batch_size: 2, max_tokens: 64}\ndata: {train: {path: pairs.jsonl}}\n"
GRPO = (
    COMMON + "method: {name: grpo, prompts_per_step: 2, group_size: 2}\nrewards: [{name: exact_match}]\n"
    "sampling: {max_tokens: 8}\ndata: {train: {path: 'playground:add'}, max_prompt_tokens: 32}\n"
)
PPO = GRPO.replace("name: grpo, prompts_per_step: 2, group_size: 2", "name: ppo, prompts_per_step: 2")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    row = '{"prompt": "1+1=", "chosen": "2", "rejected": "3"}\n'
    (tmp_path / "pairs.jsonl").write_text(row * 4, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "adapter", "message"),
    [
        (GRPO, "{kind: bottleneck}", "model.adapter.kind: grpo sends merged weights to its sampler, and a bottleneck"),
        (GRPO, "{kind: prefix}", "sends merged weights to its sampler, and trained keys and values"),
        (GRPO, "{kind: prompt}", "sends merged weights to its sampler, and trained vectors"),
        (DPO, "{kind: prompt, export: both}", "model.adapter.export: nothing merged can be written: trained vectors"),
        (PPO, "{kind: lora, path: somewhere}", "model.adapter.path: is of a policy, and the critic"),
        (DPO, "{kind: lorra}", "'lorra' is not a file of rlsys.models.adapters.*did you mean lora?"),
        (DPO, "{rank: 4}", "model.adapter.kind: required key is missing: the name of a file in .*bitfit, bottleneck"),
        (DPO, "lora", "model.adapter: wanted a section; for the kind alone, say model.adapter.kind=lora$"),
        (DPO, "{kind: lora, rnk: 4}", "model.adapter.rnk: unknown key; did you mean rank?"),
        (DPO, "{kind: ia3, rank: 4}", "model.adapter.rank: unknown key"),
        (DPO, "{kind: freeze}", "model.adapter.layers: required key is missing: The first so many layers stay"),
        (DPO, "{kind: lora, target_modules: [q_prj]}", "'q_prj' is no linear layer of .*did you mean q_proj?"),
        (DPO, "{kind: lora, rank: 200}", "model.adapter.rank: 200 is more than"),
        (DPO, "{kind: bitfit}", "bitfit trains biases"),
        (DPO, "{kind: qlora, modules_to_save: [q_proj]}", "modules_to_save: q_proj holds .* which is quantised"),
        (DPO, "{kind: lora, path: nowhere}", "model.adapter.path nowhere: no such folder"),
    ],
)
def test_what_can_t_work_is_one_line(here: Path, text: str, adapter: str, message: str) -> None:
    (here / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        list(validated(here / "x.yaml", [f"model.adapter={adapter}"]))
    assert "\n" not in str(error.value)


def test_a_package_that_is_not_installed_is_named_with_its_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsys.check.adapter.find_spec", lambda name: None)
    (here / "x.yaml").write_text(DPO, encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"qlora needs the package bitsandbytes: pip install 'rlsys\[qlora\]'$"
    ) as error:
        list(validated(here / "x.yaml", ["model.adapter={kind: qlora}"]))
    assert "\n" not in str(error.value)


def test_an_adapter_alone_is_sent_only_where_one_is_trained(here: Path) -> None:
    (here / "x.yaml").write_text(GRPO, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"weight_sync\.content: is adapter, and no model\.adapter is trained"):
        list(validated(here / "x.yaml", ["weight_sync.content=adapter"]))


def test_ways_to_train_that_a_kind_does_not_know_are_refused(here: Path) -> None:
    (here / "x.yaml").write_text(DPO, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"policy.zero_stage: qlora can't be trained so: packed weights are unpacked"):
        list(validated(here / "x.yaml", ["model.adapter={kind: qlora}", "policy.zero_stage=3"]))
    with pytest.raises(ConfigError, match=r"policy.packing: prompt can't be trained so: each row needs its own"):
        load(here / "x.yaml", ["model.adapter={kind: prompt}", "policy.packing=packed"])
    with pytest.raises(ConfigError, match=r"model.gradient_checkpointing: prefix can't be trained so"):
        load(here / "x.yaml", ["model.adapter={kind: prefix}", "model.gradient_checkpointing=true"])


def test_a_stage_that_begins_with_an_adapter_alone_is_refused(here: Path) -> None:
    stages = "".join(f"- name: {name}\n  {own}\n" for name, own in (("one", ""), ("two", "model: {path: 'stage:one'}")))
    common = "".join(f"  {line}\n" for line in DPO.splitlines()[1:])
    (here / "r.yaml").write_text(f"name: r\ncommon:\n{common}stages:\n{stages}", encoding="utf-8")
    list(validated(here / "r.yaml", ["one.model.adapter={kind: lora}"]))
    with pytest.raises(ConfigError, match=r"stage:one leaves an adapter and no model: its model\.adapter\.export is"):
        list(validated(here / "r.yaml", ["one.model.adapter={kind: lora, export: adapter}"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.lora={rank: 8}", "model.lora: is called model.adapter now: adapter: {kind: lora, rank: 8}"),
        ("model.lora=null", "model.lora: is called model.adapter now; leave this out"),
    ],
)
def test_the_old_key_is_answered_with_the_new_one(here: Path, override: str, message: str) -> None:
    (here / "x.yaml").write_text(DPO, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(here / "x.yaml", [override])
    assert str(error.value).endswith(message)


def test_cost_and_validate_tell_what_is_trained(here: Path) -> None:
    """26,112 = 3 layers x 4 ranks x (4 x 256 + 3 x 384); AdamW in float32 at ZeRO 2 keeps three numbers of each."""
    (here / "x.yaml").write_text(DPO, encoding="utf-8")
    adapter = "model.adapter={kind: lora, rank: 4}"
    told = CliRunner().invoke(app, ["cost", "x.yaml", adapter])
    assert told.exit_code == 0, told.output
    lora, full = (line.split() for line in told.output.splitlines()[2:4])
    assert lora[:4] == ["policy:", "lora", "26,112", f"{26112 / (526144 + 26112):.2%}"]
    assert lora[4:] == ["2.21", "MB", "0.10", "MB", "0.31", "MB", "0.10", "MB"]
    assert full == ["policy:", "full", "526,144", "100.00%", "2.10", "MB", "2.10", "MB", "6.31", "MB"]
    said = list(validated(here / "x.yaml", [adapter]))
    assert [line[4:] for line in said[1:4]][1] == told.output.splitlines()[1]
    assert not any("policy: full" in line for line in validated(here / "x.yaml", []))
