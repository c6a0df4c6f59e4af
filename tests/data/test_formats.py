"""What a row is, by its columns: detected, said, settled by one key; never another thing than it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsys.config.dataset import DatasetConfig
from rlsys.data.answered import load_answered
from rlsys.data.labelled import load_labelled
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts
from rlsys.data.report import Loaded
from rlsys.errors import ConfigError, DataError
from rlsys.playground.models import byte_tokenizer

LOADERS = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "labelled": load_labelled,
    "answered": lambda *given: load_answered(*given, max_answer_tokens=1000),
}


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


Q, A, B, Q2, A2 = (
    turn("user", "q"),
    turn("assistant", "a"),
    turn("assistant", "b"),
    turn("user", "r"),
    turn("assistant", "c"),
)


def load(path: Path, kind: str, *rows: Any, strict: bool = True, **settings: Any) -> Loaded[Any]:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LOADERS[kind](DatasetConfig(path=str(file), **settings), byte_tokenizer(), 1000, strict, None)


def shown(row: Any) -> str:
    """The trained tokens in brackets, special ones as one character: ^ BOS, $ EOS, and a role's first letter after a
    bar."""
    text, ids, mask = "", row.token_ids, row.loss_mask
    for place, token in enumerate(ids):
        text += "[" * (mask[place] and not (place and mask[place - 1]))
        text += str(byte_tokenizer().decode([token]))
        text += "]" * (mask[place] and (place + 1 == len(ids) or not mask[place + 1]))
    for long, short in {
        "<|bos|>": "^",
        "<|eos|>": "$",
        "<|user|>": "|u ",
        "<|assistant|>": "|a ",
        "<|system|>": "|s ",
    }.items():
        text = text.replace(long, short)
    return text


def shared(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": name, "value": value} for name, value in turns]


PARTS = [{"type": "text", "text": "q"}]
DEMONSTRATIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [Q, A]}, "messages", "^|u q|a [a$]"),
    ({"messages": json.dumps([Q, A])}, "messages", "^|u q|a [a$]"),
    ({"conversation": [Q, A]}, "messages", "^|u q|a [a$]"),
    (
        {"messages": [turn("user", PARTS), turn("assistant", [*PARTS, {"type": "text", "text": "a"}])]},
        "messages",
        "^|u q|a [qa$]",
    ),
    ({"messages": [Q, A, Q2, A2, Q]}, "messages", "^|u q|a [a$]|u r|a [c$]"),
    ({"conversations": shared(("human", "q"), ("gpt", "a"))}, "sharegpt", "^|u q|a [a$]"),
    ({"conversations": shared(("system", "s"), ("user", "q"), ("chatgpt", "a"))}, "sharegpt", "^|s s|u q|a [a$]"),
    (
        {"system": "s", "conversations": shared(("human", "q"), ("model", "a"), ("human", "r"), ("bard", "c"))},
        "sharegpt",
        "^|s s|u q|a [a$]|u r|a [c$]",
    ),
    ({"conversations": [Q, A]}, "messages", "^|u q|a [a$]"),
    ({"prompt": "q", "answer": "a"}, "prompt_answer", "^|u q|a [a$]"),
    ({"prompt": "q", "completion": "a"}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": "q", "completion": "a", "answer": None}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": [Q], "completion": [A]}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": [Q], "completion": A}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": [Q], "completion": "a"}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": [Q, A, Q2], "completion": [A2]}, "prompt_completion", "^|u q|a a$|u r|a [c$]"),
    ({"prompt": "q", "completion": [Q, A]}, "prompt_completion", "^|u q|a [a$]"),
    ({"prompt": "q", "messages": [Q, A]}, "messages", "^|u q|a [a$]"),
    ({"prompt": None, "messages": [Q, A]}, "messages", "^|u q|a [a$]"),
    ({"instruction": "q", "input": "r", "output": "a"}, "alpaca", "^|u q\n\nr|a [a$]"),
    ({"instruction": "q", "input": "", "output": "a"}, "alpaca", "^|u q|a [a$]"),
    ({"instruction": "q", "output": "a", "system": "s", "history": []}, "alpaca", "^|s s|u q|a [a$]"),
    ({"prompt": "q", "answer": "a", "system": "s"}, "prompt_answer", "^|s s|u q|a [a$]"),
    ({"prompt": "q", "answer": "a", "system": " "}, "prompt_answer", "^|u q|a [a$]"),
]


@pytest.mark.parametrize(
    ("row", "name", "text"), DEMONSTRATIONS, ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else ""
)
def test_rows_with_an_answer(tmp_path: Path, row: dict[str, Any], name: str, text: str):
    loaded = load(tmp_path, "demonstrations", row)
    assert (shown(loaded.rows[0]), loaded.report.format) == (text, name)
    assert shown(load(tmp_path, "demonstrations", row, format=name).rows[0]) == text


PROMPTS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"prompt": "q"}, "prompt", "^|u q|a ", None),
    ({"prompt": "q", "answer": "1"}, "prompt_answer", "^|u q|a ", "1"),
    ({"prompt": "q", "completion": "a"}, "prompt", "^|u q|a ", None),  # an answer to imitate is no ground truth
    ({"prompt": "q", "messages": [Q2, A]}, "prompt", "^|u q|a ", None),
    ({"instruction": "q", "output": "a"}, "alpaca", "^|u q|a ", None),
    ({"messages": [Q, A, Q2, A2]}, "messages", "^|u q|a a$|u r|a ", None),
    ({"messages": [Q, A, Q2]}, "messages", "^|u q|a a$|u r|a ", None),
    ({"conversations": shared(("human", "q"), ("gpt", "a"))}, "sharegpt", "^|u q|a ", None),
]


@pytest.mark.parametrize(("row", "name", "text", "answer"), PROMPTS)
def test_rows_to_ask(tmp_path: Path, row: dict[str, Any], name: str, text: str, answer: str | None):
    loaded = load(tmp_path, "prompts", row)
    (prompt,) = loaded.rows
    marked = type("Row", (), {"token_ids": prompt.token_ids, "loss_mask": [0] * len(prompt.token_ids)})
    assert (shown(marked), prompt.answer) == (text, answer)
    assert (loaded.report.format, loaded.report.unanswered) == (name, int(answer is None))


def test_the_format_is_said_and_settles_what_is_in_doubt(tmp_path: Path):
    both = {"prompt": "q", "answer": "a", "messages": [Q2, A2]}
    loaded = load(tmp_path, "demonstrations", both, {"messages": [Q, A]}, {"messages": [Q, A]}, strict=False)
    assert loaded.report.format == "messages (2), prompt_answer (1)"
    assert loaded.report.counts()["format"] == "messages (2), prompt_answer (1)"
    (row,) = load(tmp_path, "demonstrations", both, format="messages").rows
    assert shown(row) == "^|u r|a [c$]"
    with pytest.raises(DataError, match="the messages are of format sharegpt, and data"):
        load(tmp_path, "demonstrations", {"conversations": shared(("human", "q"), ("gpt", "a"))}, format="messages")
    with pytest.raises(DataError, match=r"no column 'prompt' \(there are: 'messages'\)"):
        load(tmp_path, "demonstrations", {"messages": [Q, A]}, format="prompt_answer")
    with pytest.raises(
        ConfigError, match="rows of format ranking can't be used here; there are auto, messages, sharegpt, prompt"
    ):
        load(tmp_path, "demonstrations", both, format="ranking")
    with pytest.raises(
        ConfigError,
        match="rows of format sharegpt can't be used here; there are auto, chosen_rejected, dialogues, ranking",
    ):
        load(tmp_path, "comparisons", both, format="sharegpt")


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("demonstrations", {"prompt": "q"}, "no answer to learn from"),
    (
        "demonstrations",
        {"prompt": [Q, A]},
        "no answer to learn from; a dialogue is named by data.*.fields: {messages: COLUMN}",
    ),
    (
        "demonstrations",
        {"prompt": [Q, A], "answer": "c"},
        "the prompt ends in a turn of the assistant: the answer would be a second one",
    ),
    (
        "demonstrations",
        {"prompt": "q", "completion": [Q2, A]},
        "the completion begins with a turn of the user, and not with the prompt",
    ),
    ("demonstrations", {"prompt": [Q], "completion": [Q]}, "the completion does not end in a turn of the assistant"),
    (
        "demonstrations",
        {"prompt": [Q], "completion": [A, Q2]},
        "the completion does not end in a turn of the assistant",
    ),
    (
        "demonstrations",
        {"instruction": "q", "output": "a", "history": [["x", "y"]]},
        "the column 'history' has earlier turns",
    ),
    (
        "demonstrations",
        {"conversations": shared(("human", "q"), ("alien", "a"))},
        "turn 2 of the messages has no role among",
    ),
    (
        "demonstrations",
        {"messages": [turn("user", [{"type": "image_url", "image_url": "x"}]), A]},
        "turn 1 of the messages has a part of type 'image_url' as content, and only text can be used",
    ),
    ("demonstrations", {"prompt": "q", "answer": "a", "system": ["s"]}, "the system text is a list, not text"),
    ("demonstrations", {"prompt": "q", "answer": "a", "tools": "[{"}, "the tools are broken JSON"),
    ("demonstrations", {"prompt": "q", "answer": "a", "tools": {"a": 1}}, "the tools are an object, not a list"),
    ("demonstrations", {"prompt": "q", "answer": "a", "functions": "{}"}, "the functions are an object, not a list"),
    (
        "demonstrations",
        {"prompt": "q", "answer": "a", "functions": ["f"]},
        "the functions are a list, not a list of objects",
    ),
    (
        "demonstrations",
        {"prompt": "q", "answer": "a", "tools": [{"function": "f"}]},
        "the chat template does not show the row's tools",
    ),
    (
        "demonstrations",
        {"prompt": "q", "answer": "a", "tools": [{"least": float("nan")}]},
        "the row has NaN or infinity in its tools, which JSON does not have",
    ),
    (
        "demonstrations",
        {"messages": [Q, turn("assistant", "", tool_calls=[{"function": {"name": "f", "arguments": '{"x": NaN}'}}])]},
        "turn 2 of the messages, tool call 1, has NaN or infinity in its arguments, which JSON does not have",
    ),
    (
        "demonstrations",
        {"prompt": "q", "answer": "a", "tools": [{"name": "f"}], "functions": [{"name": "f"}]},
        "there are both tools and functions, which say the same in two ways",
    ),
    ("prompts", {"prompt": [Q, A]}, "the prompt ends in a turn of the assistant: nothing is left to answer"),
    ("prompts", {"prompt": None}, "the prompt is null, not text"),
]


@pytest.mark.parametrize(("kind", "row", "reason"), BAD)
def test_what_can_not_be_used_is_said(tmp_path: Path, kind: str, row: dict[str, Any], reason: str):
    with pytest.raises(DataError) as error:
        load(tmp_path, kind, row)
    assert f":1: {reason}" in str(error.value)


S, T = turn("system", "s"), turn("system", "t")
HUMAN = "\n\nHuman: q\n\nAssistant: "
PAIRS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, "chosen_rejected", "^|u q|a "),
    ({"prompt": "q", "chosen": [A], "rejected": [B]}, "chosen_rejected", "^|u q|a "),
    ({"prompt": "q", "chosen": A, "rejected": B}, "chosen_rejected", "^|u q|a "),
    ({"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]}, "chosen_rejected", "^|u q|a "),
    (
        {
            "conversations": shared(("human", "q")),
            "chosen": shared(("gpt", "a"))[0],
            "rejected": shared(("gpt", "b"))[0],
        },
        "chosen_rejected",
        "^|u q|a ",
    ),
    ({"chosen": [Q, A], "rejected": [Q, B]}, "dialogues", "^|u q|a "),
    ({"chosen": HUMAN + "a", "rejected": HUMAN + "b"}, "dialogues", "^|u q|a "),
    ({"prompt": HUMAN, "chosen": HUMAN + "a", "rejected": HUMAN + "b"}, "dialogues", "^|u q|a "),
    ({"prompt": "q", "chosen": HUMAN + "a", "rejected": HUMAN + "b"}, "dialogues", "^|u q|a "),
    (
        {"prompt": "q", "chosen": [turn("system", "s"), Q, A], "rejected": [turn("system", "s"), Q, B]},
        "dialogues",
        "^|s s|u q|a ",
    ),
    ({"prompt": "q", "chosen": [Q, A2, Q2, A], "rejected": [Q, A2, Q2, B]}, "dialogues", "^|u q|a c$|u r|a "),
    ({"prompt": [Q], "chosen": [Q, A2, Q2, A], "rejected": [Q, A2, Q2, B]}, "dialogues", "^|u q|a c$|u r|a "),
    ({"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"}, "chosen_rejected", "^|s s|u q|a "),
    ({"system": "s", "chosen": [Q, A], "rejected": [Q, B]}, "dialogues", "^|s s|u q|a "),
    ({"system": "s", "chosen": [S, Q, A], "rejected": [S, Q, B]}, "dialogues", "^|s s|u q|a "),
    ({"system": "t", "chosen": [S, Q, A], "rejected": [S, Q, B]}, "dialogues", "^|s t\n\ns|u q|a "),
    ({"prompt": [T, Q], "chosen": [S, Q, A], "rejected": [S, Q, B]}, "dialogues", "^|s t\n\ns|u q|a "),
    ({"prompt": [T, Q], "chosen": [Q, A2, Q2, A], "rejected": [Q, A2, Q2, B]}, "dialogues", "^|s t|u q|a c$|u r|a "),
    ({"system": "t", "prompt": [S, Q], "chosen": "a", "rejected": "b"}, "chosen_rejected", "^|s t\n\ns|u q|a "),
    ({"system": "s", "prompt": [S, Q], "chosen": [Q, A], "rejected": [Q, B]}, "chosen_rejected", "^|s s|u q|a "),
    ({"chosen": HUMAN[2:] + "a", "rejected": HUMAN[2:] + "b"}, "dialogues", "^|u q|a "),
    ({"prompt": "q", "chosen": HUMAN[2:] + "a", "rejected": HUMAN[2:] + "b"}, "dialogues", "^|u q|a "),
    ({"prompt": HUMAN[2:], "chosen": HUMAN[2:] + "a", "rejected": HUMAN[2:] + "b"}, "dialogues", "^|u q|a "),
    ({"prompt": "q", "answers": ["a", "b"]}, "ranking", "^|u q|a "),
    ({"prompt": "q", "answers": [[A], [Q, B]]}, "ranking", "^|u q|a "),
    ({"prompt": "q", "answers": '["b", "a"]', "grades": "[1, 2]"}, "ranking", "^|u q|a "),
]


@pytest.mark.parametrize(("row", "name", "before"), PAIRS)
def test_pairs(tmp_path: Path, row: dict[str, Any], name: str, before: str):
    loaded = load(tmp_path, "comparisons", row)
    (pair,) = loaded.rows
    assert {grade: shown(answer) for answer, grade in zip(pair.answers, pair.grades, strict=True)} in (
        {1.0: f"{before}[a$]", 0.0: f"{before}[b$]"},
        {2.0: f"{before}[a$]", 1.0: f"{before}[b$]"},
    )
    assert loaded.report.format == name
    both = load(tmp_path, "labelled", row)
    assert [(shown(one.answer), one.desirable) for one in both.rows] == [
        (f"{before}[{letter}$]", letter == "a") for letter in ("ab" if '["b"' not in str(row.get("answers")) else "ba")
    ]


UNRELATED = "which is better?"


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        ({"prompt": UNRELATED, "chosen": HUMAN + "a", "rejected": HUMAN + "b"}, "^|u q|a "),
        ({"prompt": UNRELATED, "chosen": [Q, A], "rejected": [Q, B]}, "^|u q|a "),
        ({"prompt": [Q2], "chosen": [Q, A], "rejected": [Q, B]}, "^|u q|a "),
        ({"messages": [Q, A], "chosen": [Q, A], "rejected": [Q, B]}, "^|u q|a "),
    ],
)
def test_a_prompt_that_is_not_the_beginning_of_the_dialogues_is_not_taken_for_one(
    tmp_path: Path, row: dict[str, Any], taken: str
):
    with pytest.raises(DataError, match="are whole dialogues, and the prompt beside them is not their beginning"):
        load(tmp_path, "comparisons", row)
    column = "prompt" if "prompt" in row else "messages"
    cases: tuple[dict[str, Any], ...] = ({"ignore": (column,)}, {"format": "dialogues"})
    for settings in cases:
        (pair,) = load(tmp_path, "comparisons", row, **settings).rows
        assert [shown(answer) for answer in pair.answers] == [f"{taken}[a$]", f"{taken}[b$]"]


def test_answers_that_repeat_the_prompt_are_in_doubt(tmp_path: Path):
    for prompt in ("Q: 2+2? A:", [turn("user", "Q: 2+2? A:")]):
        row = {"prompt": prompt, "chosen": "Q: 2+2? A: 4", "rejected": "Q: 2+2? A: 5"}
        with pytest.raises(DataError, match="chosen and rejected begin with the prompt; cut it off, or"):
            load(tmp_path, "comparisons", row)
        (pair,) = load(tmp_path, "comparisons", row, format="chosen_rejected").rows
        assert shown(pair.answers[0]) == "^|u Q: 2+2? A:|a [Q: 2+2? A: 4$]"
    assert load(tmp_path, "comparisons", {"prompt": "q", "chosen": "q!", "rejected": "a"}).report.kept == 1


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("comparisons", {"chosen": "a", "rejected": "b"}),
        ("comparisons", {"chosen": [A], "rejected": [B]}),
        ("comparisons", {"answers": ["a", "b"]}),
        ("labelled", {"completion": "a", "label": True}),
        ("labelled", {"chosen": "a", "rejected": "b"}),
        ("demonstrations", {"completion": "a"}),
        ("answered", {"answer": "a"}),
    ],
)
def test_the_beginning_of_an_answer_is_no_prompt(tmp_path: Path, kind: str, row: dict[str, Any]):
    with pytest.raises(DataError, match="the prompt ends in a turn of the assistant: the answer would be a second one"):
        load(tmp_path, kind, {"prompt": [Q, turn("assistant", "Sure: ")], **row})


def test_answers_may_look_like_dialogues(tmp_path: Path):
    row = {"prompt": UNRELATED, "chosen": HUMAN + "a", "rejected": HUMAN + "b"}
    (pair,) = load(tmp_path, "comparisons", row, format="chosen_rejected").rows
    assert shown(pair.answers[0]) == f"^|u {UNRELATED}|a [{HUMAN}a$]"
    with pytest.raises(DataError, match="no column 'prompt' or 'messages'"):
        load(tmp_path, "comparisons", {"chosen": HUMAN + "a", "rejected": HUMAN + "b"}, format="chosen_rejected")


def test_a_column_can_be_ignored(tmp_path: Path):
    """The mapped dialogues alone are read, whatever else is called `prompt`; an ignored column that is nowhere is a
    mistake."""
    row = {"prompt": UNRELATED, "better": HUMAN + "a", "worse": HUMAN + "b"}
    fields = {"chosen": "better", "rejected": "worse"}
    assert (
        load(tmp_path, "comparisons", row, {**row, "prompt": None}, fields=fields, ignore=("prompt",)).report.kept == 2
    )
    assert (
        load(
            tmp_path, "demonstrations", {"prompt": "x", "answer": "y", "messages": [Q, A]}, ignore=("prompt",)
        ).report.format
        == "messages"
    )
    with pytest.raises(
        ConfigError, match=r"rows\.jsonl: ignore names the column 'promt', which no row has; leave it out"
    ):
        load(tmp_path, "comparisons", row, fields=fields, ignore=("prompt", "promt"))


def test_a_column_within_a_column(tmp_path: Path):
    """As verl's data sets have the ground truth; a column of that very name goes first."""
    row = {"prompt": [Q], "reward_model": {"style": "rule", "ground_truth": 4.0}, "extra.id": 7, "extra": {"id": 8}}
    loaded = load(tmp_path, "prompts", row, fields={"answer": "reward_model.ground_truth", "id": "extra.id"})
    assert [(prompt.answer, prompt.fields) for prompt in loaded.rows] == [("4", {"id": "7"})]
    (made,) = load(tmp_path, "prompts", {"a": {"b": "x"}}, prompt_format="{a.b}?").rows
    assert made.turns == "x?"
    with pytest.raises(
        DataError,
        match=r"no column 'reward_model\.truth' \(there are: 'prompt', 'reward_model\.style', 'reward_model\.gr",
    ):
        load(tmp_path, "prompts", row, fields={"answer": "reward_model.truth"})


def test_keys_of_a_message_stay(tmp_path: Path):
    """Data sets made from a prompt show them again."""
    tokenizer, file = byte_tokenizer(), tmp_path / "rows.jsonl"
    tokenizer.chat_template = "{{ messages[0].name }}" + str(tokenizer.chat_template)
    named = {**Q, "name": "Ada"}
    file.write_text(json.dumps({"messages": [named, A]}))
    (prompt,) = load_prompts(DatasetConfig(path=str(file)), tokenizer, 1000, True, None).rows
    assert (prompt.turns, prompt.text) == ((named,), "Ada<|bos|><|user|>q<|assistant|>")


def test_the_answer_belongs_to_the_prompt(tmp_path: Path):
    (row,) = load(tmp_path, "answered", {"prompt": [Q, A, Q2], "completion": [A2]}).rows
    assert (row.prompt.turns, shown(row.demonstration)) == ((Q, A, Q2), "^|u q|a a$|u r|a [c$]")


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_tools_go_to_the_template_or_the_row_is_put_aside(tmp_path: Path, tools: Any):
    """Also those of pairs, and of rows that are asked; what the template does not show is not dropped."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if tools %}{{ tools[0].function.name }}{% endif %}" + str(tokenizer.chat_template)
    rows: dict[str, dict[str, Any]] = {
        "demonstrations": {"messages": [Q, A]},
        "prompts": {"prompt": "q"},
        "comparisons": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "labelled": {"prompt": "q", "completion": "a", "label": True},
        "answered": {"prompt": "q", "answer": "a"},
    }
    for kind, row in rows.items():
        (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "tools": tools}))
        config = DatasetConfig(path=str(tmp_path / "rows.jsonl"))
        (made,) = LOADERS[kind](config, tokenizer, 1000, True, None).rows
        shows = {
            "comparisons": lambda one: one.answers[0],
            "labelled": lambda one: one.answer,
            "answered": lambda one: one.prompt,
        }
        token_ids = shows.get(kind, lambda one: one)(made).token_ids
        assert str(tokenizer.decode(list(token_ids))).startswith("add<|bos|><|user|>q<|assistant|>")
        with pytest.raises(DataError, match="the chat template does not show the row's tools"):
            LOADERS[kind](config, byte_tokenizer(), 1000, True, None)
        if kind != "demonstrations":
            with pytest.raises(DataError, match="tools, or an answer that is more than text, need a chat template"):
                LOADERS[kind](config.model_copy(update={"chat_template": "never"}), tokenizer, 1000, True, None)
    assert (
        load(
            tmp_path, "demonstrations", {"messages": [Q, A], "tools": []}, {"messages": [Q, A], "tools": None}
        ).report.kept
        == 2
    )
