"""Self-Instruct with a sampler that says what it is told, in each of the three rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.scripted_sampler import TOKENIZER, counts, sample

from rlsys.config.dataset import DatasetConfig
from rlsys.config.sampling import Sampling, SamplingConfig
from rlsys.data.load import load_demonstrations
from rlsys.data.stream import Stream
from rlsys.data.tasks import TaskSet, load_tasks
from rlsys.errors import DataError
from rlsys.methods.base import Experience, History, Step
from rlsys.methods.self_instruct.filters import FilterConfig, instruction_problem
from rlsys.methods.self_instruct.method import Config, Method, fitting
from rlsys.methods.self_instruct.pool import Pool
from rlsys.roles import Roles
from rlsys.run.history import RunHistory
from rlsys.run.ledger import Ledger
from rlsys.run.made_dataset import MadeDataset
from rlsys.samples import Abstention, Group, Prompt, Score

REAL = Path(__file__).parents[3] / "shared/data/self-instruct/seed_tasks.jsonl"
SEEDS = (
    ("greet", "Write a friendly greeting for a new neighbour.", "", "Welcome!", False),
    ("plural", "Give the plural form of this noun.", "mouse", "mice", False),
    ("mood", "Is the mood of this sentence good or bad?", "I am glad.", "good", True),
)


class Told:
    """Answers by the round that the tag names. What ends in ... ran into the token limit."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: dict[str, list[Prompt]] = {}
        self.sampling: dict[str, Sampling] = {}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        name = tag.rpartition("-")[2]
        self.asked[name], self.sampling[name] = list(prompts), sampling
        for prompt, text in reversed(list(zip(prompts, self.answers[name], strict=True))):  # in any order
            made = sample(prompt, 0, text, tag)
            yield Group(prompt, (replace(made, finish_reason="length") if text.endswith("...") else made,))


def seeds(tmp_path: Path, most: int = 4000) -> TaskSet:
    names = ("id", "instruction", "instances", "is_classification")
    rows = [(one, text, [{"input": given, "output": output}], label) for one, text, given, output, label in SEEDS]
    (tmp_path / "seeds.jsonl").write_text(
        "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    )
    config = DatasetConfig(path=str(tmp_path / "seeds.jsonl"), chat_template="never")
    return load_tasks(config, TOKENIZER, most, strict=True, quarantine=None).rows[0]


def collected(
    pool: TaskSet, rollout: Told, step: int = 1, history: History | None = None, **settings: Any
) -> Experience:
    method = Method(
        Config.model_validate({"prompts_per_step": 1, **settings}), SamplingConfig(temperature=0.7, max_tokens=64), 0
    )
    return method.collect(Roles(rollout=rollout), Stream([pool], 0, shuffle=False), Step(step, 0, 0, history=history))


LISTED = (
    " Name three birds of prey.\n5. Is this statement about birds true?"
    "\n6. Give the plural form of the noun.\n7. Draw a large red bird."
)
TOLD = {
    "instructions": [LISTED],
    "kinds": ["no", " Yes."],
    "instances": [
        " (none)\nOutput 1: Kite, hawk, owl",
        " true\nInput 1: Owls fly.\nOutput 2: false\nInput 2: Owls swim.",
    ],
}
NEW = "train-1-instructions/instructions:0/0/0"


def test_from_seeds_to_rows_and_where_they_come_from(tmp_path: Path):
    rollout = Told(**TOLD)
    experience = collected(seeds(tmp_path), rollout)
    first, second, third = experience.rows
    assert sorted(first["parents"]) == ["greet", "mood", "plural"]
    assert first == {
        "prompt": "Name three birds of prey.",
        "answer": "Kite, hawk, owl",
        "instruction": "Name three birds of prey.",
        "input": "",
        "output": "Kite, hawk, owl",
        "is_classification": False,
        "instruction_id": f"{NEW}#0",
        "instruction_sample": NEW,
        "instance_sample": "train-1-instances/instances:0/0/0",
        "parents": first["parents"],
        "nearest": "plural",  # `of` is all that they share: 2 x 1 / (5 + 7); with `mood` it is less, 2 x 1 / (5 + 9)
        "rouge_l": 2 / 12,
    }
    assert (second["prompt"], second["answer"]) == ("Is this statement about birds true?\n\nOwls fly.", "true")
    assert (third["prompt"], third["answer"]) == ("Is this statement about birds true?\n\nOwls swim.", "false")
    assert {row["instruction_id"] for row in (second, third)} == {f"{NEW}#1"}
    # `Give the plural form of the noun.` shares six of seven words with a seed, in order; a language model can't draw.
    assert counts(experience) == {"rows": 3, "instructions": 2, "instruction_similar": 1, "instruction_keyword": 1}
    assert [(group.trajectories[0].sample_id.split("/")[0], group.results) for group in experience.groups] == [
        ("train-1-instructions", (Score(2.0),)),
        ("train-1-kinds", (Score(0.0),)),
        ("train-1-kinds", (Score(1.0),)),
        ("train-1-instances", (Score(1.0),)),
        ("train-1-instances", (Score(2.0),)),
    ]


def test_each_round_asks_by_examples(tmp_path: Path):
    rollout = Told(**TOLD)
    collected(seeds(tmp_path), rollout)
    (listed,) = rollout.asked["instructions"]
    assert listed.text.endswith("\n4.")
    assert all(text in listed.text for _, text, *_ in SEEDS)
    assert rollout.sampling["instructions"] == Sampling(0.7, 1.0, 0, 64, 1)
    assert rollout.asked["kinds"][0].text.endswith("Task: Name three birds of prey.\nLabel:")
    assert "Task: Is the mood of this sentence good or bad?\nLabel: yes" in rollout.asked["kinds"][0].text
    assert rollout.sampling["kinds"] == Sampling(0.0, 1.0, 0, 8, 1)
    free, label = (prompt.text for prompt in rollout.asked["instances"])
    assert free.endswith("Task: Name three birds of prey.\nInput 1:")
    assert "noun.\nInput 1: mouse\nOutput 1: mice" in free
    assert "neighbour.\nInput 1: (none)\nOutput 1: Welcome!" in free
    assert "glad" not in free
    assert label.endswith("Task: Is this statement about birds true?\nOutput 1:")
    assert "bad?\nOutput 1: good\nInput 1: I am glad." in label
    assert "mice" not in label


def test_what_is_left_out_is_counted(tmp_path: Path):
    texts = [
        " Name three birds.\n5. Name three birds of prey.\n6. Name three large birds of prey.\n7. Say what is bes...",
        " Sing a song about owls.\n5. Ask me a hard question.\n6. Tell one more old joke."
        "\n7. Never asked for this one.",
    ]
    rollout = Told(
        instructions=texts,
        kinds=["no", "perhaps", "no", "no"],
        instances=[
            " a\nOutput 1: b\nInput 1: c\nOutput 1: \nInput 3: d\nOutput 3: e",
            " a\nOutput 1: b\nInput 2: a\nOutput 2: c",
            "a\nOutput 1: b\nInput 2: c\nOutput 2: d...",
        ],
    )
    experience = collected(seeds(tmp_path), rollout, prompts_per_step=2, new_per_prompt=3)
    assert [(row["instruction"], row["input"], row["output"]) for row in experience.rows] == [
        ("Name three birds of prey.", "a", "b"),
        ("Tell one more old joke.", "a", "b"),
    ]
    assert counts(experience) == {
        "rows": 2,
        "instructions": 4,
        "instruction_short": 1,
        "instruction_similar": 1,
        "instruction_cut_off": 1,
        "instruction_unasked": 1,
        "kind_unclear": 1,
        "without_instance": 1,
        "instance_empty_output": 1,
        "instance_unasked": 1,
        "instance_contradictory": 2,
        "instance_cut_off": 1,
    }
    assert experience.groups[3].results == (Abstention("neither yes nor no"),)


def test_a_base_model_that_goes_on_with_further_tasks_loses_no_instance(tmp_path: Path):
    """It writes until the token limit stops it; what is cut off is nothing that was asked for."""
    text = " a\nOutput 1: b\nInput 2: c\nOutput 2: d\n\nTask: Name a fish.\nInput 1: e\nOutp..."
    rollout = Told(instructions=[" Name three birds of prey."], kinds=["no"], instances=[text])
    experience = collected(seeds(tmp_path), rollout)
    assert [(row["input"], row["output"]) for row in experience.rows] == [("a", "b"), ("c", "d")]
    assert counts(experience) == {"rows": 2, "instructions": 1}


def test_a_last_instruction_that_had_ended_is_none_that_the_token_limit_cuts_off(tmp_path: Path):
    rollout = Told(
        instructions=[" Name three birds of prey.\n\nI hope that th..."], kinds=["no"], instances=[" a\nOutput 1: b"]
    )
    experience = collected(seeds(tmp_path), rollout)
    assert [row["instruction"] for row in experience.rows] == ["Name three birds of prey."]
    assert counts(experience) == {"rows": 1, "instructions": 1}


def test_a_step_without_anything_new(tmp_path: Path):
    experience = collected(seeds(tmp_path), Told(instructions=["..."]))
    assert experience.rows == ()
    assert counts(experience) == {"instruction_cut_off": 1}
    assert len(experience.groups) == 1


def test_later_steps_stand_on_earlier_ones_also_after_a_resume(tmp_path: Path):
    pool, dataset = seeds(tmp_path), MadeDataset(tmp_path / "dataset.jsonl")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        first = collected(pool, Told(**TOLD), history=RunHistory(ledger, dataset))
        dataset.append(1, first.rows)
        again = Told(
            instructions=[" Name three birds of prey.\n7. Name two of the planets."],
            kinds=["no"],
            instances=["(none)\nOutput 1: Mars"],
        )
        # A new history on the same files is what a resumed run has.
        second = collected(
            pool,
            again,
            step=2,
            history=RunHistory(ledger, MadeDataset(tmp_path / "dataset.jsonl")),
            seeds_shown=3,
            generated_shown=2,
        )
    (row,) = second.rows
    assert sorted(row["parents"]) == ["greet", "mood", "plural", f"{NEW}#0", f"{NEW}#1"]
    assert "Name three birds of prey." in again.asked["instructions"][0].text
    assert again.asked["instructions"][0].text.endswith("\n6.")
    assert counts(second) == {"rows": 1, "instructions": 1, "instruction_similar": 1}
    assert second.metrics["pool/tasks"] == 3 + 2 + 1


def test_examples_are_drawn_anew_for_each_prompt_and_the_same_for_each_seed(tmp_path: Path):
    def drawn(step: int) -> list[str]:
        rollout = Told(instructions=["..."] * 40)
        collected(seeds(tmp_path), rollout, step=step, prompts_per_step=40, seeds_shown=1, generated_shown=0)
        return [prompt.text for prompt in rollout.asked["instructions"]]

    assert len(set(drawn(1))) == 3
    assert drawn(1) == drawn(1) != drawn(2)


def test_examples_that_find_no_room_are_left_out(tmp_path: Path):
    whole = Told(**TOLD)
    collected(seeds(tmp_path), whole)
    length = len(whole.asked["instructions"][0].token_ids)
    tight = Told(instructions=["..."])
    collected(seeds(tmp_path, length - 1), tight)
    assert tight.asked["instructions"][0].text.endswith("\n3.")
    with pytest.raises(DataError, match=r"data\.max_prompt_tokens=100: no room for a prompt with one seed task"):
        collected(seeds(tmp_path, 100), Told())


def test_the_longest_examples_are_the_first_to_go(tmp_path: Path):
    """Ten tokens have room for the two short ones, wherever the long one stands."""
    for examples in (["abcdef", "x" * 15, "yz"], ["x" * 15, "abcdef", "yz"], ["abcdef", "yz", "x" * 15]):
        prompt, shown = fitting(seeds(tmp_path, 10), "", "\n".join, examples)
        assert (prompt and prompt.text, shown) == ("abcdef\nyz", ["abcdef", "yz"])
    assert fitting(seeds(tmp_path, 10), "", lambda shown: "x" * 15, ["a"]) == (None, [])


def test_the_rows_are_demonstrations(tmp_path: Path):
    MadeDataset(tmp_path / "dataset.jsonl").append(1, collected(seeds(tmp_path), Told(**TOLD)).rows)
    config = DatasetConfig(path=str(tmp_path / "dataset.jsonl"), chat_template="never")
    rows = load_demonstrations(config, TOKENIZER, 200, strict=True, quarantine=None).rows
    assert [bytes(row.token_ids[row.loss_mask.index(1) : -1]).decode() for row in rows] == [
        "Kite, hawk, owl",
        "true",
        "false",
    ]


@pytest.mark.skipif(not REAL.exists(), reason=f"the authors' seed tasks are not at {REAL}")
def test_the_real_seeds_pass_their_own_filters():
    (real,) = load_tasks(DatasetConfig(path=str(REAL)), TOKENIZER, 4000, strict=True, quarantine=None).rows
    assert (len(real.tasks), sum(task.is_classification for task in real.tasks)) == (175, 26)
    pool, config, left_out = Pool(), FilterConfig(), dict[str, str]()
    for task in real.tasks:
        nearest = pool.nearest(task.instruction)
        alike = nearest is not None and nearest.rouge_l >= config.max_rouge_l
        if reason := instruction_problem(task.instruction, config) or ("similar" if alike else None):
            left_out[task.instruction] = reason
        else:
            pool.add(task.task_id, task.instruction)
    assert len(pool.ids) == 170
    assert left_out == {
        "Explain human's behavior.": "short",
        "Complete the lyrics.": "short",
        "Write a cover letter based on the given facts.": "similar",
        "Use a positive stereotype to complete the sentence.": "similar",
        "Write a program to compute the sum of integers from k to n.": "opening",
    }
