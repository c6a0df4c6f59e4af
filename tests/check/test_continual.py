"""A recipe's stages as a sequence of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.check.recipe import load_recipe
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError

SEQUENCE = """
name: three
continual:
  against: {kind: none}
common:
  model: {path: "playground:0.5m", dtype: float32}
  method: {name: sft, batch_size: 8, max_tokens: 32}
  loop: {steps: 1}
stages:
  - {name: a, data: {train: {path: "playground:sort_digits"}}}
  - {name: b, data: {train: {path: "playground:add"}, also: [{path: "playground:chain"}]}}
  - {name: c, data: {train: {path: "playground:letters"}}}
"""
MEASURE = "{data: {eval: {path: 'playground:add', split: test}}, rewards: [{name: exact_match}]}"


def stages(tmp_path: Path, *overrides: str, text: str = SEQUENCE) -> dict[str, Experiment]:
    file = tmp_path / "three.yaml"
    file.write_text(text)
    return {one.name: one for one in load_recipe(file, overrides, this_machine=False)[1]}


def test_each_task_goes_on_with_the_model_of_the_one_before(tmp_path: Path) -> None:
    found = stages(tmp_path)
    assert [one.model.path for one in found.values()] == ["playground:0.5m", "stage:a", "stage:b"]
    assert all(one.ewc is None for one in found.values())


def test_with_an_adapter_the_base_stays_and_the_adapter_goes_on(tmp_path: Path) -> None:
    found = stages(tmp_path, "common.model.adapter={kind: lora}")
    assert {one.model.path for one in found.values()} == {"playground:0.5m"}
    assert [one.model.adapter.path for one in found.values()] == [None, "stage:a", "stage:b"]


def test_replay_draws_a_fraction_of_its_rows_from_all_tasks_before_beside_what_the_stage_has(tmp_path: Path) -> None:
    found = stages(tmp_path, "continual.against={kind: replay, fraction: 0.3, keep: 0.1}")
    assert found["a"].data.also == ()
    told = [[(one.path, one.fraction, one.part and one.part.share) for one in found[name].data.also] for name in "bc"]
    assert told == [
        [("playground:chain", None, None), ("playground:sort_digits", 0.3, 0.1)],
        [("playground:sort_digits", 0.15, 0.1), ("playground:add", 0.15, 0.1)],
    ]


def test_ewc_keeps_what_later_tasks_need_and_holds_near_all_before(tmp_path: Path) -> None:
    found = stages(tmp_path, "continual.against={kind: ewc, strength: 7, samples: 5}")
    told = [(one.ewc.of, one.ewc.strength, one.ewc.samples) for one in found.values() if one.ewc is not None]
    assert told == [((), 1.0, 5), (("stage:a",), 7.0, 5), (("stage:a", "stage:b"), 7.0, 0)]


def test_isolated_tasks_all_begin_at_the_base_with_a_new_adapter(tmp_path: Path) -> None:
    found = stages(tmp_path, "continual.against={kind: isolation}", "common.model.adapter={kind: lora}")
    assert {(one.model.path, one.model.adapter.path) for one in found.values()} == {("playground:0.5m", None)}
    with pytest.raises(ConfigError, match=r"stage a: model\.adapter: continual\.against: isolation gives each task an"):
        stages(tmp_path, "continual.against={kind: isolation}")


def test_every_task_is_measured_after_each(tmp_path: Path) -> None:
    measure = f"continual.measure={{a: {MEASURE}, b: {MEASURE}, c: {MEASURE}}}"
    found = stages(tmp_path, measure)
    assert [*found][:5] == ["a", "a_on_a", "a_on_b", "a_on_c", "b"]
    assert len(found) == 12
    assert (found["b_on_a"].method.name, found["b_on_a"].model.path) == ("evaluate", "stage:b")
    isolated = stages(tmp_path, measure, "continual.against={kind: isolation}", "common.model.adapter={kind: lora}")
    own = ["a", "a_on_a", "base_on_b", "base_on_c", "b", "b_on_b", "c", "c_on_c"]
    assert [*isolated] == own
    assert isolated["base_on_c"].model.path == "playground:0.5m"


def test_a_task_that_is_rewarded_is_measured_as_its_own_stage_says(tmp_path: Path) -> None:
    graded = (
        "method: {name: grpo, prompts_per_step: 2, group_size: 2}, rewards: [{name: exact_match}], "
        "sampling: {max_tokens: 9}"
    )
    text = SEQUENCE.replace("  method: {name: sft, batch_size: 8, max_tokens: 32}\n", "")
    for name, task in (("a", "sort_digits"), ("b", "add"), ("c", "chain")):
        held_out = f"eval: {{path: 'playground:{task}', split: test}}"
        stage = f'- {{name: {name}, {graded}, data: {{train: {{path: "playground:{task}"}}, {held_out}}}}}'
        line = next(line for line in text.splitlines() if f"{{name: {name}," in line)
        text = text.replace(line, f"  {stage}")
    found = stages(tmp_path, "continual.measure={a: {}, b: {evaluation: {prompts: 7}}, c: {}}", text=text)
    measured = found["a_on_b"]
    assert measured.data.held_out() == found["b"].data.held_out()
    assert (measured.rewards, measured.sampling) == (found["b"].rewards, found["b"].sampling)
    assert (measured.evaluation.prompts, found["c_on_a"].evaluation.prompts) == (7, 256)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        (
            "continual.against={kind: repaly}",
            r"continual\.against\.kind: 'repaly' is not a file .* did you mean replay",
        ),
        ("continual.against={kind: replay, fraction: 2}", r"continual\.against\.fraction: "),
        ("continual.tasks=[a, d]", r"continual\.tasks\.1: 'd' is no stage"),
        ("continual.tasks=[b, a]", r"continual\.tasks: wanted each stage once, in the order"),
        (f"continual.measure={{a: {MEASURE}}}", r"continual\.measure: b is a task, and is not measured"),
        ("b.ewc={of: ['stage:a'], strength: 2}", r"ewc\.of\.0: stage:a keeps no Fisher information"),
        ("b.ewc={}", r"ewc: holds nothing and keeps nothing"),
        ("b.ewc={samples: 3, strength: 2}", r"ewc\.strength: has no effect without ewc\.of"),
        (
            "b.data.also=[{path: 'playground:add', fraction: 0.5}, {path: 'playground:chain', fraction: 0.5}]",
            "leave noth",
        ),
        ("b.data.train.fraction=0.5", r"data\.train\.fraction: has no effect outside data\.also"),
        (
            "b.model.path=other",
            r"command line.*: model\.path: this task begins with stage:a; leave it out, or",
        ),
        ("b.model.adapter={kind: lora, path: 'stage:a'}", r"model\.adapter\.path: stage:a trains no adapter"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, override: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as caught:
        stages(tmp_path, override)
    assert len(str(caught.value).splitlines()) == 1


def test_a_task_that_names_its_own_model_is_refused(tmp_path: Path) -> None:
    text = SEQUENCE.replace("- {name: b, ", "- {name: b, model: {path: other}, ")
    with pytest.raises(ConfigError, match="a task begins with the model of the one before"):
        stages(tmp_path, text=text)


def test_what_ewc_cannot_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.zero_stage: with model\.dtype=bfloat16, 0 keeps"):
        stages(tmp_path, "a.ewc={samples: 3}", "a.policy.zero_stage=0", "a.model.dtype=bfloat16")
