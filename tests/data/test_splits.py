"""Slices of local data sets, and shares of them that are held out by a hash of each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from rlsys.check.load import load as load_config
from rlsys.config.dataset import DatasetConfig, Part
from rlsys.config.experiment import DataConfig
from rlsys.config.paths import datasets as named_datasets
from rlsys.data.load import load_prompts
from rlsys.data.sources import read_rows
from rlsys.errors import ConfigError, DataError
from rlsys.files import read_lines
from rlsys.playground.models import byte_tokenizer

BOUNDS = [":10%", "90%:", "33%:67%", "2:5", "-3:", ":-4", "7:", ":100", "12:3", ":"]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts_of(config: DatasetConfig) -> list[str]:
    return [raw.value["prompt"] for raw in read_rows(config)]


def numbered(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"p{number}"} for number in range(count)]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_slice_is_that_of_datasets(tmp_path: Path, bounds: str):
    file = write(tmp_path / "rows.jsonl", numbered(23))
    instruction = datasets.ReadInstruction.from_spec(f"train[{bounds}]")
    (absolute,) = instruction.to_absolute({"train": 23})
    wanted = [f"p{number}" for number in range(23)][absolute.from_ : absolute.to]
    assert prompts_of(DatasetConfig(path=str(file), split=f"train[{bounds}]")) == wanted


def test_a_slice_of_a_folder_and_of_a_playground_task(tmp_path: Path):
    write(tmp_path / "test.jsonl", numbered(10))
    assert prompts_of(DatasetConfig(path=str(tmp_path), split="test[20%:40%]")) == ["p2", "p3"]
    datasets.Dataset.from_list(numbered(10)).save_to_disk(tmp_path / "saved")
    assert prompts_of(DatasetConfig(path=str(tmp_path / "saved"), split="train[8:]")) == ["p8", "p9"]
    every = prompts_of(DatasetConfig(path="playground:add", split="test"))
    assert prompts_of(DatasetConfig(path="playground:add", split="test[:5]")) == every[:5]


def test_rows_keep_their_numbers_in_a_slice(tmp_path: Path):
    file = write(tmp_path / "rows.jsonl", numbered(4))
    loaded = load_prompts(DatasetConfig(path=str(file), split="train[2:]", limit=1), byte_tokenizer(), 100, True, None)
    assert [row.prompt_id for row in loaded.rows] == ["train[2:]:3"]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (
            "rows.jsonl",
            "test",
            r"rows\.jsonl: a single file has no split 'test'; leave split out, give a slice of it, as in split: "
            r"train\[90%:\]",
        ),
        ("rows.jsonl", "test[:10%]", "has no split 'test'"),
        ("rows.jsonl", "train[:10", "can't be read"),
        ("rows.jsonl", "train+test", "can't be read"),
        ("rows.jsonl", "train[a:b]", "can't be read"),
        ("saved", "test", "no split 'test': the folder holds one data set without splits"),
    ],
)
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, name: str, split: str, message: str):
    write(tmp_path / "rows.jsonl", numbered(3))
    datasets.Dataset.from_list(numbered(3)).save_to_disk(tmp_path / "saved")
    with pytest.raises((ConfigError, DataError), match=message):
        prompts_of(DatasetConfig(path=str(tmp_path / name), split=split))


def test_a_file_is_the_split_of_its_own_name(tmp_path: Path):
    file = write(tmp_path / "test.jsonl", numbered(2))
    assert (
        prompts_of(DatasetConfig(path=str(file), split="test"))
        == prompts_of(DatasetConfig(path=str(file)))
        == ["p0", "p1"]
    )


def sides(path: Path, share: float = 0.25, by: str | None = None, **settings: Any) -> tuple[list[str], list[str]]:
    """Prompts to train on, and those held out, as a run's config says it."""
    data = DataConfig.model_validate({"train": {"path": str(path), **settings}, "eval": {"share": share, "by": by}})
    (train,), held_out = data.training(), data.held_out()
    assert held_out is not None
    return prompts_of(train), prompts_of(held_out)


def test_a_held_out_share_is_left_out_of_training(tmp_path: Path):
    train, held_out = sides(write(tmp_path / "rows.jsonl", numbered(2000)))
    assert sorted(train + held_out) == sorted(f"p{number}" for number in range(2000))
    assert abs(len(held_out) / 2000 - 0.25) < 0.04  # four standard deviations of a binomial


def test_further_rows_move_no_row_and_a_larger_share_keeps_what_was_held_out(tmp_path: Path):
    _, few = sides(write(tmp_path / "rows.jsonl", numbered(100)))
    _, more = sides(write(tmp_path / "more.jsonl", [{"prompt": "new"}, *reversed(numbered(300))]))
    assert 0 < len(few) < 100
    assert set(few) == set(more) & {f"p{number}" for number in range(100)}
    assert set(few) < set(sides(tmp_path / "rows.jsonl", 0.5)[1])


def test_equal_rows_are_on_the_same_side(tmp_path: Path):
    """Whatever the order of their columns, and whatever is ignored; in one column alone where `by` names it."""
    rows = [{"prompt": f"p{number % 50}", "id": number} for number in range(200)]
    file = write(tmp_path / "rows.jsonl", [row if row["id"] % 2 else dict(reversed(row.items())) for row in rows])
    train, held_out = sides(file)
    assert set(train) & set(held_out)
    cases: tuple[dict[str, Any], ...] = ({"ignore": ["id"]}, {"by": "prompt"})
    for settings in cases:
        train, held_out = sides(file, **settings)
        assert train
        assert held_out
        assert not set(train) & set(held_out)
    nested = write(
        tmp_path / "nested.jsonl",
        [{"prompt": row["prompt"], "about": {"topic": row["prompt"], "n": row["id"]}} for row in rows],
    )
    assert not set.intersection(*map(set, sides(nested, by="about.topic")))


def test_a_row_that_can_not_be_read_is_put_aside_once(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "p{n}"}}\n{{"prompt": {n}\n' for n in range(40)) + '{"other": 1}\n'
    )
    data = DataConfig.model_validate(
        {"train": {"path": str(tmp_path / "rows.jsonl")}, "eval": {"share": 0.5, "by": "prompt"}}
    )
    held_out = data.held_out()
    assert held_out is not None
    aside = tmp_path / "aside.jsonl"
    reports = [
        load_prompts(config, byte_tokenizer(), 100, False, aside).report for config in (*data.training(), held_out)
    ]
    entries = [json.loads(line) for line in read_lines(aside)]
    assert sorted(entry["row"] for entry in entries) == [*range(2, 81, 2), 81]
    assert [report.read for report in reports] == [
        sum(entry["split"] == report.split for entry in entries) + report.kept for report in reports
    ]
    assert sum(report.kept for report in reports) == 40
    assert [report.split for report in reports] == [
        "train, all but the share 0.5 by prompt",
        "train, the share 0.5 by prompt",
    ]
    assert "no column 'prompt' (there are: 'other'), and data.*.by asks for it" in [
        entry["reason"] for entry in entries
    ]


CONFIG = """
name: own
method: {name: sft, batch_size: 2, max_tokens: 64}
model: {path: "playground:0.5m"}
data: DATA
loop: {steps: 1}
policy: {tokens_per_micro_batch: 128}
"""


def config(folder: Path, data: str) -> DataConfig:
    (folder / "own.yaml").write_text(CONFIG.replace("DATA", data))
    return load_config(folder / "own.yaml", this_machine=False, check=lambda _: ()).data


def test_the_share_is_asked_for_in_the_config(tmp_path: Path):
    """What is held out is read as the training rows are, and is left out of every training set."""
    train = "{path: a.jsonl, fields: {answer: output}, limit: 50, weight: 2}"
    data = config(tmp_path, f"{{train: {train}, also: [{{path: b.jsonl}}], eval: {{share: 0.1, limit: 7}}}}")
    (main, also), held_out = data.training(), data.held_out()
    assert held_out == DatasetConfig(path="a.jsonl", fields={"answer": "output"}, limit=7, part=Part(share=0.1))
    assert (main.part, main.limit, main.weight) == (Part(share=0.1, rest=True), 50, 2)
    assert (also.path, also.part) == ("b.jsonl", Part(share=0.1, rest=True))
    experiment = load_config(tmp_path / "own.yaml", this_machine=False)
    assert [named_datasets(experiment)[key] for key in (("data", "train"), ("data", "eval"))] == [main, held_out]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "{train: {path: a.jsonl}, eval: {split: test}}",
            "data.eval: wanted exactly one of path, a data set of its own, and share, of data.train",
        ),
        ("{train: {path: a.jsonl}, eval: {path: b.jsonl, share: 0.1}}", "data.eval: wanted exactly one of path"),
        ("{train: {path: a.jsonl}, eval: {path: b.jsonl, by: id}}", "data.eval: by has no effect without share"),
        (
            "{train: {path: a.jsonl}, eval: {share: 0.1, fields: {answer: b}}}",
            "data.eval: fields has no effect beside share",
        ),
        (
            "{train: {path: a.jsonl}, eval: {share: 1.5}}",
            "data.eval.share: wanted a number above 0 and below 1 or null, got 1.5",
        ),
        (
            "{train: {path: a.jsonl, part: {share: 0.5}}, eval: {share: 0.1}}",
            "data: eval.share parts the training sets, and one of them has",
        ),
        (
            "{train: {path: a.jsonl, ignore: [b], fields: {answer: b}}}",
            "data.train: fields.answer is the column 'b', which ignore leaves out",
        ),
        ("{train: {path: 'playground:add', split: 'dev[:5]'}}", "data.train.split: playground:add has no split 'dev'"),
        (
            "{train: {path: 'stage:one', split: test}}",
            "data.train.split: what a stage made is one split, train, and not 'test'",
        ),
    ],
)
def test_what_can_not_be_meant_is_one_line(tmp_path: Path, data: str, message: str):
    with pytest.raises(ConfigError) as error:
        config(tmp_path, data)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
