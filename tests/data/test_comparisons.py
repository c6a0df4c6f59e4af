import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.config.experiment import DataConfig
from rlsys.data.collate import collate_comparisons
from rlsys.data.load import Comparison, load_comparisons
from rlsys.data.mixture import build_source
from rlsys.data.report import Loaded
from rlsys.errors import ConfigError, DataError
from rlsys.files import read_lines
from rlsys.playground.letters import gold
from rlsys.playground.models import byte_tokenizer

REAL = Path("../shared/data")
USER, BOT = ({"role": role} for role in ("user", "assistant"))


def said(role: dict[str, str], content: str) -> dict[str, str]:
    return {**role, "content": content}


def load(
    path: Path,
    *rows: Any,
    tokenizer: PreTrainedTokenizerFast | None = None,
    strict: bool = True,
    most: int = 100,
    **settings,
):
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_comparisons(
        DatasetConfig(path=str(file), **settings), tokenizer or byte_tokenizer(), most, strict, path / "aside.jsonl"
    )


def shown(loaded: Loaded[Comparison]) -> list[list[tuple[str, float]]]:
    """Each answer, what is scored in it in brackets, with its grade."""
    tokenizer = byte_tokenizer()
    found = []
    for row in loaded.rows:
        found.append([])
        for answer, grade in zip(row.answers, row.grades, strict=True):
            start = answer.loss_mask.index(1)
            assert answer.loss_mask == (0,) * start + (1,) * (len(answer.token_ids) - start)
            before, scored = (
                tokenizer.decode(list(answer.token_ids[:start])),
                tokenizer.decode(list(answer.token_ids[start:])),
            )
            found[-1].append((f"{before}[{scored}]", grade))
    return found


HH = {
    "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c \n\nAssistant: good",
    "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c \n\nAssistant:  bad\n",
}


def test_only_the_last_turn_of_a_dialogue_is_scored(tmp_path: Path):
    before = "<|bos|><|user|>a<|assistant|>b<|eos|><|user|>c<|assistant|>"
    wanted = [[(f"{before}[good<|eos|>]", 1.0), (f"{before}[bad<|eos|>]", 0.0)]]
    loaded = load(tmp_path, HH)
    assert shown(loaded) == wanted
    assert [row.row_id for row in loaded.rows] == ["train:1"]
    turns = [said(USER, "a"), said(BOT, "b"), said(USER, "c")]
    assert (
        shown(load(tmp_path, {"chosen": [*turns, said(BOT, "good")], "rejected": [*turns, said(BOT, "bad")]})) == wanted
    )


@pytest.mark.parametrize("settings", [{"chat_template": "never"}, {}], ids=["never", "no template"])
def test_without_a_template_a_dialogue_stays_the_text_it_was(tmp_path: Path, settings: dict):
    tokenizer = byte_tokenizer()
    if not settings:
        tokenizer.chat_template = None
    before = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert shown(load(tmp_path, HH, tokenizer=tokenizer, **settings)) == [
        [(f"{before}[ good<|eos|>]", 1.0), (f"{before}[ bad<|eos|>]", 0.0)]
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": [said(USER, "q")], "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": [said(BOT, "good")], "rejected": [said(USER, "q"), said(BOT, "bad")]},
        {"messages": [said(USER, "q")], "chosen": [said(BOT, "good")], "rejected": [said(BOT, "bad")]},
        {"prompt": "q", "answers": ["good", "bad"]},
        {"prompt": "q", "answers": ["good", "bad"], "grades": [1, 0]},
        {"prompt": "q", "chosen": "good", "rejected": "bad", "margin": None},
    ],
)
def test_every_form_of_a_pair_gives_the_same_tokens(tmp_path: Path, row: dict):
    before = "<|bos|><|user|>q<|assistant|>"
    assert shown(load(tmp_path, row)) == [[(f"{before}[good<|eos|>]", 1.0), (f"{before}[bad<|eos|>]", 0.0)]]


def test_grades(tmp_path: Path):
    loaded = load(
        tmp_path,
        {"prompt": "q", "answers": ["a", "b", "c", "d"]},
        {"prompt": "q", "answers": ["a", "b", "c"], "grades": [-1, 7.5, -1]},
        {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.25},
    )
    assert [row.grades for row in loaded.rows] == [(3.0, 2.0, 1.0, 0.0), (-1.0, 7.5, -1.0), (0.25, 0.0)]
    (mapped,) = load(
        tmp_path,
        {"q": "x", "better": "a", "worse": "b", "lead": 2},
        prompt_format="{q}?",
        fields={"chosen": "better", "rejected": "worse", "margin": "lead"},
    ).rows
    assert mapped.grades == (2.0, 0.0)
    assert byte_tokenizer().decode(list(mapped.answers[1].token_ids)) == "<|bos|><|user|>x?<|assistant|>b<|eos|>"


PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("columns", "grades", "preference"),
    [
        ({}, (1.0, 0.0), 1.0),
        ({"preference": None}, (1.0, 0.0), 1.0),
        ({"preference": float("nan"), "margin": float("nan")}, (1.0, 0.0), 1.0),
        ({"reference_log_probs": None, "reference_tokens": None}, (1.0, 0.0), 1.0),
        ({"preference": 0.75}, (1.0, 0.0), 0.75),
        ({"preference": 0.5}, (1.0, 0.0), 0.5),
        ({"preference": 1}, (1.0, 0.0), 1.0),
        # `rejected` is the likelier one: it has the higher grade, and the margin.
        ({"preference": 0.25}, (0.0, 1.0), 0.75),
        ({"preference": 0, "margin": 3}, (0.0, 3.0), 1.0),
    ],
)
def test_soft_labels(tmp_path: Path, columns: dict, grades: tuple, preference: float):
    (row,) = load(tmp_path, {**PAIR, **columns}).rows
    assert (row.grades, row.preference) == (grades, preference)
    dialogues = {name: HH[name] for name in ("chosen", "rejected")}
    (row,) = load(tmp_path, {**dialogues, **columns}).rows
    assert (row.grades, row.preference) == (grades, preference)


def test_people_s_labels_and_a_judge_s_can_be_mixed(tmp_path: Path):
    judged, human = (
        load(tmp_path, {**PAIR, "preference": 0.75}),
        load(tmp_path, {name: HH[name] for name in ("chosen", "rejected")}),
    )
    sets = tuple(DatasetConfig(path=name) for name in ("judged", "human"))
    rows = build_source([judged, human], DataConfig(train=sets[0], also=sets[1:]), seed=0).take(20)
    batch = collate_comparisons(rows, pad_id=0)
    assert batch.preference_B.tolist() == [
        0.75 if row.answers == judged.rows[0].answers else 1.0 for row in rows for _ in range(2)
    ]
    assert set(batch.preference_B.tolist()) == {0.75, 1.0}


def test_soft_labels_under_another_name_must_be_there(tmp_path: Path):
    fields = {"preference": "p"}
    loaded = load(tmp_path, {**PAIR, "p": 0.75}, PAIR, {**PAIR, "p": None}, strict=False, fields=fields)
    assert [row.preference for row in loaded.rows] == [0.75]
    aside = [json.loads(line)["reason"] for line in read_lines(tmp_path / "aside.jsonl")]
    assert aside == [
        "no column 'p' (there are: 'prompt', 'chosen', 'rejected'), and data.*.fields asks for it",
        "the preference is null, not a number",
    ]


BAD = (
    ({**PAIR, "rejected": "a"}, "chosen and rejected are equal"),
    ({"chosen": HH["chosen"], "rejected": HH["chosen"]}, "chosen and rejected are equal"),
    ({"prompt": "q", "answers": ["a", "b", "a"]}, "two answers are equal"),
    ({**PAIR, "chosen": " "}, "chosen is empty"),
    (
        {"chosen": "\n\nHuman: a\n\nAssistant: ", "rejected": HH["rejected"]},
        "chosen: turn 2 of 2 of the dialogue (assistant) is empty",
    ),
    ({"prompt": "q", "answers": ["a", ""]}, "answer 2 is empty"),
    ({**PAIR, "rejected": None}, "rejected is null, not text"),
    (
        {"chosen": HH["chosen"], "rejected": "\n\nHuman: a\n\nAssistant: x"},
        "chosen and rejected share no prompt: they differ before the last assistant turn",
    ),
    (
        {"chosen": HH["chosen"], "rejected": HH["rejected"] + "\n\nHuman: so?"},
        "rejected does not end in an assistant turn",
    ),
    ({"chosen": "\n\nAssistant: x", "rejected": "\n\nAssistant: y"}, "chosen has no prompt before the answer"),
    (
        {"chosen": "x", "rejected": "y"},
        r"chosen: text that is no dialogue: it must begin with '\n\nHuman:' (or be a list of messages)",
    ),
    (
        {**PAIR, "chosen": [said(USER, "other"), said(BOT, "a")]},
        "chosen holds other messages than one assistant turn (or the prompt and one)",
    ),
    ({**PAIR, "margin": 10**400}, "the margin is not a finite number"),
    ({**PAIR, "margin": "much"}, "the margin is text, not a number"),
    ({**PAIR, "margin": 0}, "the margin is 0: the chosen answer is not the better one"),
    ({**PAIR, "preference": 1.5}, "the preference is 1.5, not a probability from 0 to 1"),
    ({**PAIR, "preference": -0.5}, "the preference is -0.5, not a probability from 0 to 1"),
    ({**PAIR, "preference": "half"}, "the preference is text, not a number"),
    ({**PAIR, "preference": True}, "the preference is true or false, not a number"),
    (
        {"prompt": "q", "answers": ["a", "b"], "preference": 0.5},
        "a preference is for two answers, chosen and rejected, and this row has a list of them",
    ),
    ({"prompt": "q", "answers": ["a", "b"], "grades": [float("inf"), 0]}, "grade 1 is not a finite number"),
    ({"prompt": "q", "answers": ["a", "b"], "grades": [2, 2]}, "all grades are equal: nothing is better than the rest"),
    ({"prompt": "q", "answers": ["a", "b"], "grades": [2]}, "grades is not a list of 2 numbers, one for each answer"),
    ({"prompt": "q", "answers": ["a"]}, "answers is a list of fewer than two, not a list of two or more texts"),
    ({"answers": ["a", "b"]}, "answers without a prompt"),
    ({"prompt": "q"}, "no column 'chosen' or 'answers' (there are: 'prompt'); data.*.fields says which column is what"),
)


def test_rows_that_say_nothing_are_put_aside_with_their_reason(tmp_path: Path):
    loaded = load(tmp_path, *(row for row, _ in BAD), PAIR, {**PAIR, "rejected": "b" * 20}, strict=False, most=20)
    aside = [json.loads(line) for line in read_lines(tmp_path / "aside.jsonl")]
    assert [entry["reason"] for entry in aside] == [reason for _, reason in BAD]
    report = loaded.report
    assert (report.read, report.kept, report.too_long, report.quarantined) == (len(BAD) + 2, 1, 1, len(BAD))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: chosen and rejected are equal"):
        load(tmp_path, BAD[0][0])


def test_answers_that_a_template_makes_equal_are_put_aside(tmp_path: Path):
    tokenizer = byte_tokenizer()
    assert isinstance(tokenizer.chat_template, str)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content'] + eos_token", "message['content'] | trim + eos_token"
    )
    rows = ({**PAIR, "rejected": PAIR["chosen"] + " \n"}, PAIR)
    assert load(tmp_path, *rows).report.kept == 2
    loaded = load(tmp_path, *rows, tokenizer=tokenizer, strict=False)
    (entry,) = (json.loads(line) for line in read_lines(tmp_path / "aside.jsonl"))
    assert (loaded.report.kept, entry["reason"].partition(":")[0]) == (1, "two answers are the same tokens")


def test_the_longest_answer_counts(tmp_path: Path):
    # BOS, user, q, assistant, 3 letters, EOS
    assert load(tmp_path, {**PAIR, "rejected": "bbb"}, most=8).report.kept == 1
    with pytest.raises(DataError, match="no usable row among 1 \\(1 longer than 7 tokens, 0 bad\\)"):
        load(tmp_path, {**PAIR, "rejected": "bbb"}, most=7)


def test_a_column_that_comparisons_do_not_have(tmp_path: Path):
    with pytest.raises(
        ConfigError,
        match="fields maps 'chosn', which comparisons don't have \\(there are: prompt, messages, system, tools, chosen",
    ):
        load(tmp_path, PAIR, fields={"chosn": "chosen"})


def test_playground_preferences():
    loaded = load_comparisons(
        DatasetConfig(path="playground:letters_preferences", split="test"), byte_tokenizer(), 32, True, None
    )
    for row in loaded.rows:
        better, worse = (bytes(answer.token_ids[6:-1]).decode() for answer in row.answers)
        letters = bytes(row.answers[0].token_ids[2:5]).decode()
        assert gold(letters, better) > gold(letters, worse)


def test_hh_rlhf(tmp_path: Path):
    file = REAL / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    if not file.is_file():
        pytest.skip("real data is not beside the repository (../shared/data/hh-rlhf)")
    tokenizer, aside = byte_tokenizer(), tmp_path / "aside.jsonl"
    loaded = load_comparisons(DatasetConfig(path=str(file)), tokenizer, 100_000, False, aside)
    reasons = [json.loads(line)["reason"] for line in read_lines(aside)]
    # Counted in the file itself: 5 pairs with different numbers of turns, 4 chosen answers without a text.
    assert (loaded.report.read, loaded.report.kept, loaded.report.quarantined) == (2312, 2303, 9)
    assert Counter(reason.rpartition(" ")[2] for reason in reasons) == {"turn": 5, "empty": 4}
    for row in loaded.rows:
        chosen, rejected = row.answers
        start = chosen.loss_mask.index(1)
        assert start == rejected.loss_mask.index(1)
        assert chosen.token_ids[:start] == rejected.token_ids[:start]
        assert chosen.token_ids != rejected.token_ids
        assert chosen.token_ids[-1] == rejected.token_ids[-1] == tokenizer.eos_token_id
    answer = loaded.rows[0].answers[0]
    scored = [token for token, bit in zip(answer.token_ids, answer.loss_mask, strict=True) if bit]
    assert str(tokenizer.decode(scored)).startswith("No, sorry!  All of these involve a pen")
