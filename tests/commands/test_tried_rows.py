"""What `rlsys validate` reads: local data sets, as the run would, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.commands.tried_rows import FIRST, first_labelled, first_rows
from rlsys.config.experiment import Experiment
from rlsys.errors import ConfigError, DataError
from rlsys.playground.models import build

CONFIG = """\
name: own
method: {name: sft, batch_size: 1}
model: {path: owner/model}
data: {train: {path: rows.jsonl}}
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""
ANY_LENGTH = "; no length is judged: owner/model is no local folder"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(CONFIG)


def own(*overrides: str) -> Experiment:
    return load("own.yaml", overrides)


def jsonl(name: str, *rows: dict[str, Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_only_the_first_rows_count_and_unusable_ones_among_them_are_counted():
    good, bad = {"prompt": "q", "answer": "a" * 9000}, {"prompt": "q"}
    jsonl("rows.jsonl", bad, *[good] * FIRST)
    jsonl("few.jsonl", good, bad, good)
    told = [*first_rows(own("data.also=[{path: few.jsonl}]", "data.eval={path: owner/held-out}"))]
    assert told == [
        f"    rows that can be used: data.train {FIRST - 1} of the first {FIRST} as prompt_answer (first left out: no "
        "answer to learn from), data.also.0 2 of all 3 as prompt_answer "
        f"(first left out: no answer to learn from){ANY_LENGTH}",
        "    not read: data.eval owner/held-out (no such file, so a hub id)",
    ]
    assert [*first_rows(own("data.train={path: few.jsonl, limit: 1}"))] == [
        f"    rows that can be used: data.train 1 of all 1 as prompt_answer{ANY_LENGTH}"
    ]


@pytest.mark.parametrize(
    ("rows", "overrides", "problem"),
    [
        (
            20,
            [],
            "own: data.train: late.jsonl: no usable row among 20 (20 bad; first bad row, 1: no answer to learn from)",
        ),
        (
            21,
            ["data.train.limit=20"],
            "own: data.train: late.jsonl: no usable row among 20 (20 bad; first bad row, 1: no answer to learn from)",
        ),
        (
            21,
            ["data.strict=true"],
            "own: data.train: late.jsonl:1: no answer to learn from (data.strict stops at the first bad row)",
        ),
        (21, [], None),
        (21, ["data.train.limit=21"], None),
    ],
)
def test_unusable_first_rows_are_a_mistake_only_where_the_run_reads_no_others(
    rows: int, overrides: list[str], problem: str | None
):
    jsonl("late.jsonl", *[{"prompt": "q"}] * 20, *[{"prompt": "q", "answer": "a"}] * (rows - 20))
    config = own("data.train.path=late.jsonl", *overrides)
    if problem is None:
        assert [*first_rows(config)] == [
            "    rows that can be used: data.train 1 of all 21 as prompt_answer (first left out: no answer to learn "
            f"from){ANY_LENGTH}"
        ]
        return
    with pytest.raises(DataError) as error:
        list(first_rows(config))
    assert str(error.value) == problem


DPO = ["method={name: dpo, batch_size: 1}"]
KTO = ["method={name: kto, batch_size: 2}"]
SPIN = ["method={name: spin, scored: false, prompts_per_step: 1}"]


@pytest.mark.parametrize(
    ("method", "usable", "unusable", "read_as"),
    [
        (DPO, {"prompt": "q", "chosen": "a", "rejected": "b"}, "chosen", "chosen_rejected"),
        (KTO, {"prompt": "q", "chosen": "a", "rejected": "b"}, "rejected", "chosen_rejected"),
        (["method={name: sft, tokens: all, batch_size: 1}"], {"text": "words"}, "text", "text"),
        (SPIN, {"prompt": "q", "answer": "a"}, "prompt", "prompt_answer"),
        (
            ["method={name: grpo, prompts_per_step: 1}", "rewards=[{name: format, args: {regex: a}}]"],
            {"prompt": "q"},
            "prompt",
            "prompt",
        ),
    ],
)
def test_each_method_reads_its_own_columns(method: list[str], usable: dict[str, Any], unusable: str, read_as: str):
    jsonl("rows.jsonl", usable)
    assert [*first_rows(own(*method))] == [f"    rows that can be used: data.train 1 of all 1 as {read_as}{ANY_LENGTH}"]
    jsonl("rows.jsonl", {f"my_{column}" if column == unusable else column: value for column, value in usable.items()})
    with pytest.raises(
        DataError, match=f"^own: data.train: rows.jsonl: no usable row among 1 .*no column '{unusable}'"
    ):
        list(first_rows(own(*method)))


SPIN = ["method={name: spin, scored: false, prompts_per_step: 4}"]


@pytest.mark.parametrize(
    ("settings", "row", "problem"),
    [
        (
            ["method={name: sft, batch_size: 4}"],
            {"prompt": "q", "answer": "a"},
            "has 3 usable rows, and a step takes 4; take fewer a step or ",
        ),
        (SPIN, {"prompt": "q", "answer": "a"}, "has 3 usable rows, and a step takes 4; "),
        (
            ["method={name: kto, batch_size: 2}"],
            {"prompt": "q", "completion": "a", "label": True},
            "all 3 answers are labelled desirable; add ",
        ),
    ],
)
def test_what_must_fail_is_said_of_a_set_that_was_read_whole(settings: list[str], row: dict[str, Any], problem: str):
    jsonl("rows.jsonl", row, row, row, {})
    with pytest.raises(DataError) as error:
        list(first_rows(own(*settings)))
    assert str(error.value).startswith(f"own: data.train: rows.jsonl: {problem}")
    jsonl("rows.jsonl", row, row, row, *[{}] * FIRST)
    with pytest.raises(DataError):
        list(first_rows(own(*settings)))
    follow = {**row, "label": False} if "label" in row else row
    jsonl("rows.jsonl", row, row, row, *[{}] * FIRST, follow)
    assert list(first_rows(own(*settings))), "rows enough follow"
    mixed = own(*settings, "data.also=[{path: owner/more}]")
    jsonl("rows.jsonl", row, row, row)
    assert list(first_rows(mixed)), "so may those of another set"


def test_every_row_is_read_where_that_is_asked_for():
    """In the run a bad row beyond those that are tried is put aside, and counted."""
    jsonl("rows.jsonl", *[{"prompt": "q", "answer": "a"}] * FIRST, {})
    for every, told in ((False, f"{FIRST} of the first {FIRST}"), (True, f"{FIRST} of all {FIRST + 1}")):
        assert told in " ".join(first_rows(own(), every=every))


def test_lengths_count_where_the_tokenizer_is_the_models_own():
    """`q` and five bytes, with BOS, two roles and EOS, are ten tokens."""
    jsonl("rows.jsonl", {"prompt": "q", "answer": "a"}, {"prompt": "q", "answer": "a" * 5})
    told = [*first_rows(own("model.path=playground:0.5m", "method.max_tokens=9"))]
    assert told == [
        "    rows that can be used: data.train 1 of all 2 as prompt_answer (first left out: longer than 9 tokens)"
    ]
    told = [*first_rows(own("model.path=playground:0.5m", "method.max_tokens=10"))]
    assert told == ["    rows that can be used: data.train 2 of all 2 as prompt_answer"]
    with pytest.raises(DataError, match=r"no usable row among 2 \(2 longer than 4 tokens, 0 bad\)$"):
        list(first_rows(own("model.path=playground:0.5m", "method.max_tokens=4")))


@pytest.mark.parametrize(("model", "enough"), [("playground:0.5m", False), ("owner/model", True)])
def test_blocks_of_text_are_counted_only_in_the_models_own_tokens(model: str, enough: bool):
    """BOS and three tokens a block: `abcde` and EOS are two blocks."""
    jsonl("rows.jsonl", {"text": "abcde"})
    config = own(f"model.path={model}", "method={name: sft, tokens: all, batch_size: 3, max_tokens: 4}")
    if enough:
        assert list(first_rows(config))
        return
    with pytest.raises(DataError, match="has 2 usable rows, and a step takes 3"):
        list(first_rows(config))


def test_too_little_text_to_go_on_imitating_is_said():
    jsonl("text.jsonl", {"text": "abc"})
    grpo = [
        "method={name: grpo, ptx_coef: 1, ptx_batch: 2, prompts_per_step: 1}",
        "rewards=[{name: exact_match}]",
    ]
    config = own(
        *grpo, "model.path=playground:0.5m", "data={train: {path: 'playground:letters'}, pretrain: {path: text.jsonl}}"
    )
    with pytest.raises(
        DataError,
        match=r"^own: data.pretrain: text.jsonl: makes 1 rows of up to 2048 tokens, and a step takes 2; lower ",
    ):
        list(first_rows(config))


def test_held_out_prompts_need_no_answer():
    """A method that samples is measured by samples, whatever it learns from."""
    jsonl("rows.jsonl", {"prompt": "q", "answer": "a"})
    jsonl("asked.jsonl", {"prompt": "another"})
    grpo = ["method={name: grpo, prompts_per_step: 1}", "rewards=[{name: format, args: {regex: a}}]"]
    told = [*first_rows(own(*grpo, "data.eval={path: asked.jsonl}"))]
    read = "data.train 1 of all 1 as prompt_answer, data.eval 1 of all 1 as prompt"
    assert told == [f"    rows that can be used: {read}{ANY_LENGTH}"]


@pytest.mark.parametrize("reward", ["exact_match", "math"])
def test_a_reward_that_reads_ground_truths_must_find_some(reward: str):
    grpo = ["method={name: grpo, prompts_per_step: 1}", f"rewards=[{{name: {reward}}}]"]
    jsonl("rows.jsonl", *[{"prompt": "q"}] * 30)
    with pytest.raises(DataError, match=rf"rows.jsonl: no row has a ground truth that reward {reward} can read \(the "):
        list(first_rows(own(*grpo)))
    jsonl("rows.jsonl", {"prompt": "q"}, {"prompt": "q", "answer": "1"}, {"prompt": "q"})
    (told,) = first_rows(own(*grpo))
    assert f"3 of all 3 as prompt (2), prompt_answer (1) (2 of 3 without a ground truth that {reward} can read)" in told


def test_a_tokenizer_that_is_here_is_used():
    build("0.5m", Path("model"))
    settings = json.loads(Path("model/tokenizer_config.json").read_text())
    Path("model/tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": None}))
    Path("model/chat_template.jinja").unlink(missing_ok=True)
    jsonl("rows.jsonl", {"prompt": "q", "answer": "a"})
    assert [*first_rows(own("model.path=./model"))] == [
        "    rows that can be used: data.train 1 of all 1 as prompt_answer"
    ]
    with pytest.raises(
        ConfigError,
        match=r"^own: data.train: rows.jsonl: chat_template is always, but the tokenizer '.*model' has no chat",
    ):
        list(first_rows(own("model.path=./model", "data.train.chat_template=always")))


def test_log_probs_of_another_tokenizers_tokens_are_not_judged_by_bytes():
    jsonl(
        "rows.jsonl",
        {"prompt": "q", "chosen": "abc", "rejected": "b", "reference_log_probs": [-1, -2], "reference_tokens": [2, 2]},
    )
    told = [*first_rows(own("method={name: dpo}"))]
    assert told == ["    not read: data.train rows.jsonl (its log-probs are of the tokens of owner/model)"]


def test_a_stage_of_a_recipe_has_the_tokenizer_of_the_model_before_it():
    Path("two.yaml").write_text(
        "name: two\nstages:\n  - {name: one, config: own.yaml}\n"
        "  - {name: made, config: own.yaml, model: {path: 'stage:one'}, data: {eval: {path: "
        "'playground:letters', split: test}}}\n"
    )
    jsonl("rows.jsonl", {"prompt": "q", "answer": "a"})
    _, (one, made) = load_recipe(Path("two.yaml"), ["one.model.path=playground:0.5m"])
    assert [*first_rows(made, [one])] == [
        "    rows that can be used: data.train 1 of all 1 as prompt_answer, data.eval 333 of all 333 as prompt_answer"
    ]


def test_comparisons_to_measure_a_judge_by_are_read():
    jsonl("rows.jsonl", {"prompt": "q", "chosen": "a", "rejected": "a"})
    data = own().data.train
    assert data is not None
    with pytest.raises(DataError) as error:
        list(first_labelled(data, "judge"))
    assert (
        str(error.value)
        == "judge: data: rows.jsonl: no usable comparison among 1 rows; first bad row, 1: chosen and rejected are equal"
    )
    jsonl("rows.jsonl", *[{"prompt": "q", "chosen": "a", "rejected": "a"}] * 21)
    with pytest.raises(DataError, match="no usable comparison among 21 rows"):
        list(first_labelled(data, "judge"))
