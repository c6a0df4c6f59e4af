"""Whatever `train` refuses before it starts an actor, `validate` refuses, and nothing else: 200 mutations of five
experiments, each given to both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.validate_and_train import refusal, trained
from transformers import AutoTokenizer

from rlsys.commands.validate import validated
from rlsys.playground.models import build

COMMON = """
model: {path: base, dtype: float32}
loop: {steps: 1}
cluster: {cpus: 16}
"""
CONFIGS = {
    "sft": "method: {name: sft, batch_size: 2, max_tokens: 64}\n"
    "data: {train: {path: qa.jsonl}, eval: {path: qa.jsonl}, contamination: {max_share: 1}}",
    "grpo": "method: {name: grpo, prompts_per_step: 2, group_size: 2}\nrewards: [{name: exact_match}]\n"
    "sampling: {max_tokens: 8}\ndata: {train: {path: qa.jsonl}, max_prompt_tokens: 32}",
    "kto": "method: {name: kto, batch_size: 2, max_tokens: 64}\ndata: {train: {path: pairs.jsonl}}",
    "dpo": "method: {name: dpo, batch_size: 2, max_tokens: 64}\ndata: {train: {path: pairs.jsonl}}",
    "rft": "method: {name: rft, prompts_per_step: 2, samples: 2}\nrewards: [{name: math}]\nsampling: {max_tokens: 8}\n"
    "data: {train: {path: qa.jsonl}, max_prompt_tokens: 32}",
}
MUTATIONS: tuple[str, ...] = (
    "seed=3",
    "model.path=nowhere/at/all",
    "model.path=no_tokenizer",
    "model.path=wide_tokenizer",
    "model.path=other_tokenizer",
    "reference.path=other_tokenizer",
    "reference.path=base",
    "critic.path=base",
    "reward_models=[{path: base}]",
    "teacher={path: base}",
    "method.max_tokens=5000",
    "method.max_tokens=3",
    "method.batch_size=100",
    "method.batch_size=0",
    "method.batch_size=two",
    "method.prompts_per_step=100",
    "method.group_size=1",
    "method.samples=0",
    "method.nothing=1",
    "method.name=grpoo",
    "method=17",
    "data.train.path=empty.jsonl",
    "data.train.path=broken.jsonl",
    "data.train.path=late.jsonl",
    "data.train.path=untold.jsonl",
    "data.train.path=half_told.jsonl",
    "data.train.path=missing.jsonl",
    "data.train.path=qa.jsonl",
    "data.train.path=pairs.jsonl",
    "data.train.path=long.jsonl",
    "data.train.split=test",
    "data.train.split=train[:1]",
    "data.train.fields={answer: nothing}",
    "data.train.fields={prompt: answer, answer: prompt}",
    "data.train.format=messages",
    "data.train.answer_after='####'",
    "data.train.chat_template=always",
    "data.train.system_prompt=Be brief.",
    "data.train.limit=1",
    "data.strict=true",
    "data.eval={share: 0.5}",
    "data.eval={path: empty.jsonl}",
    "data.eval={path: untold.jsonl}",
    "data.contamination={max_share: 0.5}",
    "data.contamination={against: [{path: qa.jsonl}]}",
    "data.contamination={against: [{path: missing.jsonl}]}",
    "data.train.where={answer: '1'}",
    "data.train.where={nothing: 1}",
    "data.train.templates=['{prompt}', 'Now {prompt}']",
    "data.train.templates=['{nothing}']",
    "data.max_prompt_tokens=2",
    "data.max_prompt_tokens=5000",
    "sampling.max_tokens=5000",
    "sampling.temperature=0",
    "loop.epochs=1",
    "loop={epochs: 0.5}",
    "data.train={path: qa.jsonl, ignore: [zzz]}",
    "data.train.path=mostly_bad.jsonl",
    "data.train={path: late_bad.jsonl}",
    "data={train: {path: late_bad.jsonl}, strict: true}",
    "model.path=no_weights",
    "policy.tokens_per_micro_batch=10",
    "stages=17",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    for name in ("base", "no_tokenizer", "wide_tokenizer", "other_tokenizer", "no_weights"):
        build("0.5m", place / name)
    for file in (place / "no_tokenizer").glob("*token*"):
        file.unlink()
    (place / "no_weights" / "model.safetensors").unlink()
    wide: Any = AutoTokenizer.from_pretrained(place / "wide_tokenizer")
    wide.add_tokens(["<|more|>"])
    wide.save_pretrained(place / "wide_tokenizer")
    (place / "other_tokenizer" / "tokenizer.json").write_text(
        (place / "base" / "tokenizer.json").read_text().replace('"a":97', '"a":98').replace('"b":98', '"b":97')
    )
    asked = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(6)]
    pairs = [{"prompt": f"{n}+1=", "chosen": str(n + 1), "rejected": "?"} for n in range(6)]
    rows: dict[str, Sequence[Any]] = {
        "qa": asked,
        "pairs": pairs,
        "empty": [],
        "untold": [{"prompt": "a"}] * 4,
        "half_told": [{"prompt": "a"}, *asked],
        "mostly_bad": [*[{"nothing": 1}] * 45, *asked[:1]],
        "late_bad": [*asked * 5, {"nothing": 1}],
        "late": [*[{"nothing": 1}] * 25, *asked],
        "long": [{"prompt": "a" * 9000, "answer": "b", "chosen": "a", "rejected": "b"}] * 4,
    }
    for name, own in rows.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    (place / "broken.jsonl").write_text("{\n" * 5)
    for name, own in CONFIGS.items():
        (place / f"{name}.yaml").write_text(f"name: {name}\n{own}\n{COMMON}")
    return place


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_train_refuses_validate_refuses_and_nothing_else(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutation: str
):
    monkeypatch.chdir(place)
    for name in CONFIGS:
        config = Path(f"{name}.yaml")
        told = refusal(lambda config=config: list(validated(config, [mutation])))
        found = refusal(lambda config=config, name=name: trained(config, [mutation], tmp_path / name))
        assert (told is None) == (found is None), f"{name} {mutation}: validate says {told!r}, train {found!r}"
        for line in (told or "").splitlines():
            assert line.strip()
            assert "Traceback" not in line


def test_they_are_two_hundred():
    assert len(MUTATIONS) * len(CONFIGS) >= 200
    assert len(set(MUTATIONS)) == len(MUTATIONS)


@pytest.mark.parametrize(
    ("name", "rows", "settings", "problem"),
    [
        (
            "dpo",
            [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 4,
            ["method.precomputed=true"],
            "reference_log_probs",
        ),
        ("kto", [{"prompt": "a", "completion": "b", "label": True}] * 30, [], "all 30 answers are labelled desirable"),
        ("sft", [{"prompt": "a", "answer": "b"}] * 600 + [{}], ["data.strict=true"], "own.jsonl:601: "),
        ("sft", [{}] * 600 + [{"prompt": "a", "answer": "b"}], [], "has 1 usable rows, and a step takes 2"),
    ],
)
def test_what_lies_beyond_the_first_rows_is_found(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    rows: list[Any],
    settings: list[str],
    problem: str,
):
    monkeypatch.chdir(place)
    (place / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["data={train: {path: own.jsonl}}", *settings]
    for call in (
        lambda: list(validated(Path(f"{name}.yaml"), given)),
        lambda: trained(Path(f"{name}.yaml"), given, tmp_path),
    ):
        assert problem in str(refusal(call))


def test_models_are_judged_where_the_data_are_elsewhere(place: Path, monkeypatch: pytest.MonkeyPatch):
    """On the hub, or made by an earlier stage."""
    monkeypatch.chdir(place)
    for path, problem in (("wide_tokenizer", "embedding"), ("no_weights", "no weights"), ("no_tokenizer", "tokenizer")):
        told = refusal(
            lambda path=path: list(validated(Path("sft.yaml"), [f"model.path={path}", "data={train: {path: o/d}}"]))
        )
        assert told is not None
        assert problem in told
    (place / "two.yaml").write_text(
        "name: two\ncommon: {model: {path: base, dtype: float32}, cluster: {cpus: 16}}\nstages:\n"
        "  - {name: reject, method: {name: rft, prompts_per_step: 2, samples: 2}, rewards: [{name: math}],\n"
        "     loop: {steps: 1}, sampling: {max_tokens: 8}, data: {train: {path: qa.jsonl}, max_prompt_tokens: 32}}\n"
        "  - {name: learn, method: {name: sft, batch_size: 2, max_tokens: 9000}, loop: {steps: 1},\n"
        "     data: {train: {path: 'stage:reject'}}}\n"
    )
    assert "sees 4096 tokens, and sequences may have 9000" in str(
        refusal(lambda: list(validated(Path("two.yaml"), [])))
    )
