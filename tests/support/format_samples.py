"""One sample of each row format. Of these and of the rows of public data sets docs/data_formats.md is made:

python tests/support/format_samples.py > docs/data_formats.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))  # for whoever runs this file

from rlsys.config.dataset import RowFormat
from rlsys.data.files import BINARY, PACKED, TEXTS
from rlsys.data.turns import SPEAKERS
from support.public_rows import PUBLIC
from support.sample import AGAIN, ANSWER, ASK, HH, SIX, WRONG, Sample, said, turn

FORMATS = (
    Sample("", "demonstrations", "messages", ({"messages": [ASK, ANSWER, AGAIN, SIX]},), ("4", "6")),
    Sample(
        "content in parts",
        "demonstrations",
        "messages",
        ({"messages": [turn("user", [{"type": "text", "text": "2+2?"}]), ANSWER]},),
        ("4",),
    ),
    Sample("", "demonstrations", "sharegpt", ({"conversations": [said("human", "2+2?"), said("gpt", "4")]},), ("4",)),
    Sample("", "prompts", "prompt", ({"prompt": "2+2?"},), ("",)),
    Sample("", "prompts", "prompt_answer", ({"prompt": "2+2?", "answer": 4.0},), ("4",)),
    Sample("the prompt as messages", "demonstrations", "prompt_answer", ({"prompt": [ASK], "answer": "4"},), ("4",)),
    Sample("", "demonstrations", "prompt_completion", ({"prompt": "2+2?", "completion": "4"},), ("4",)),
    Sample(
        "both as messages",
        "demonstrations",
        "prompt_completion",
        ({"prompt": [ASK, ANSWER, AGAIN], "completion": [SIX]},),
        ("6",),
    ),
    Sample("", "demonstrations", "alpaca", ({"instruction": "Add.", "input": "2, 2", "output": "4"},), ("4",)),
    Sample("", "comparisons", "chosen_rejected", ({"prompt": "2+2?", "chosen": "4", "rejected": "5"},), ("4", "5")),
    Sample(
        "with a system text",
        "comparisons",
        "chosen_rejected",
        ({"system": "Add.", "prompt": "2+2?", "chosen": [ANSWER], "rejected": [WRONG]},),
        ("4", "5"),
    ),
    Sample("", "comparisons", "dialogues", ({"chosen": [ASK, ANSWER], "rejected": [ASK, WRONG]},), ("4", "5")),
    Sample("in one text", "comparisons", "dialogues", ({"chosen": HH + "4", "rejected": HH + "5"},), ("4", "5")),
    Sample(
        "",
        "comparisons",
        "ranking",
        ({"prompt": "2+2?", "answers": ["4", "four?", "5"], "grades": [1, 0.5, 0]},),
        ("4", "5"),
    ),
    Sample(
        "",
        "labelled",
        "labelled",
        ({"prompt": "2+2?", "completion": "4", "label": True}, {"prompt": "1+1?", "completion": "3", "label": "no"}),
        ("4", "not 3"),
    ),
    Sample(
        "messages that end in the answer",
        "labelled",
        "labelled",
        ({"messages": [ASK, ANSWER], "label": 1}, {"messages": [AGAIN, WRONG], "label": 0}),
        ("4", "not 5"),
    ),
    Sample("", "texts", "text", ({"text": "Two and two are four."},), ("Two and two are four.",)),
)

MEANT: dict[str, str] = {
    "messages": "`role` and `content`; also in a column `conversations` or `conversation`, or JSON in a table's cell",
    "sharegpt": f"`from` and `value`; speakers are the roles' names or {', '.join(sorted(SPEAKERS))}",
    "prompt": "a question; for rewards that need no ground truth",
    "prompt_answer": "the answer is a ground truth, or what is imitated; text, a number, true or false",
    "prompt_completion": "the completion is imitated; it is no ground truth",
    "alpaca": "the prompt is the instruction, a blank line and the input, if there is one",
    "chosen_rejected": "two answers to the prompt; perhaps a `margin` or a `preference` (0 to 1)",
    "dialogues": "they differ in the last assistant turn alone; a prompt beside them must be their beginning",
    "ranking": "best first, or with `grades`",
    "labelled": "true, yes, 1, good, desirable; or false, no, 0, bad, undesirable",
    "text": "every token is trained",
}
"""What is to be known of each format."""

HEAD = """# Data formats

Made from `tests/support/format_samples.py`: every row below is read, and trained on for one step, in the tests. What
was found is said by `rlsys validate` and by the run (`format` in `summary.json`); `data.train.format` settles what is
in doubt, `fields` names columns (`reward_model.ground_truth` is one within one), `ignore` leaves some out. Rows that
can't be used are put aside with their reason in the run's `quarantine.jsonl`, and counted.

## Files

{files}

Text is UTF-8, or UTF-16 with a byte order mark. A line is a row; a .json file is a list of rows, or lines, or objects
one after the other; a table has a header, and its blank cells are missing; a .txt file is one document. A folder has a
file for each split (`train.jsonl`), or .txt files, or what `datasets` reads. Hub ids are read by `datasets`.

Messages, and lists, may be JSON in a text, as tables have them, in every column that may be messages; a text that looks
like messages and is no JSON (Python's own `[{'role': ...}]`) puts its row aside. In Parquet, Arrow and `datasets`,
objects in a list have a null for each key that only another one has: these nulls are not read.

`split` may be a slice: `train[:10%]`, `train[100:200]`, `train[-50:]`. `data.eval: {share: 0.1}` holds out about a
tenth of `data.train`, told by a hash of each row: more rows move none, equal rows stay together (with `by: COLUMN`,
rows that are equal there), and none of them is trained on.

Null, NaN and infinity are missing values, also as the cell of a table. A float that is a whole number is written
without `.0`; so is a table's column of which every cell is such a number or missing.

Raw text of any length is tokenised in pieces, cut where that changes no token. Where no such place is found, it is cut
all the same, which is counted (`rough_cuts`) and said.

## Rows

| `format` | row | what counts |
|---|---|---|
"""
MIDDLE = """
`prompt` may be messages in every one of them, `system` (text) comes before the prompt, `tools` (a list) go to the
chat template, and so do all keys of a message (`tool_calls`, `reasoning_content`, `name`). A row is put aside, with the
turn and the key, if the template does not show what it says; `ignore: [messages.timestamp]` reads all rows without
that key, and `ignore: [meta.id]` without that column within a column. OpenAI's earlier `functions` and `function_call`
are tools and a tool call. Turns of the assistant with `weight: 0` or `train: false` are not trained. System texts at
the beginning become one, with a blank line between. An end of the turn that an answer brings itself (`4</s>`) is
trained once.

Put aside, unless `ignore` names the column: rows with `history`, `images`, `image`, `videos`, `audios` or
`chat_template_kwargs` (lists or objects), which change what the rest says and can't be shown; and answers that are to
be imitated, with a `label` that calls them bad. Put aside, too: a prompt that ends in the beginning of an answer, and
pairs whose texts both repeat the prompt (`format: chosen_rejected` takes them as they are).

Every turn is trained after exactly what a sample would go on from. Where a template shows the last turn otherwise than
earlier ones (Qwen3, gpt-oss), that takes one sequence for each turn of a dialogue.

## Public data sets

| data set | read as | `format` | settings | trained, or the ground truth |
|---|---|---|---|---|
"""


def page() -> str:
    """docs/data_formats.md."""
    assert {one.format for one in FORMATS} == {*get_args(RowFormat), "text"} == MEANT.keys()
    files = (
        f"{', '.join(TEXTS)}, each also compressed ({', '.join(PACKED[1:])}); {', '.join(BINARY)}. Upper case is fine."
    )
    rows = [f"| {one.format} | {code(one.rows[0])} | {one.name or MEANT[one.format]} |" for one in FORMATS]
    public = [
        f"| {one.name} | {one.kind} | {one.format} | {code(one.settings) if one.settings else ''} | "
        f"{', '.join(map(code, one.trained))} |"
        for one in PUBLIC
    ]
    return HEAD.replace("{files}", files) + "\n".join(rows) + "\n" + MIDDLE + "\n".join(public) + "\n"


def code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text.strip()}`".replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
