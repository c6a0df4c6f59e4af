"""What is trained under well-known families of chat templates. `«` and `»` stand around what is trained."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from support.chat_templates import FAMILIES, tokenizer_with
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.data.load import load_comparisons, load_demonstrations, load_prompts
from rlsys.data.messages import checked_messages
from rlsys.data.raw import BadRow
from rlsys.data.report import Loaded
from rlsys.data.stream import id_of
from rlsys.errors import NoUsableRow
from rlsys.files import read_lines

Turn = dict[str, Any]


def turn(role: str, content: str | None, **more: Any) -> Turn:
    return {"role": role, "content": content, **more}


ASK, FOUR = turn("user", "2+2?"), turn("assistant", "4")
AGAIN, SIX, SEVEN = turn("user", "3+3?"), turn("assistant", "6"), turn("assistant", "7")
BRIEF = turn("system", "Be brief.")
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
CALL = turn(
    "assistant",
    None,
    tool_calls=[{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Oslo"}'}}],
)
COLD = turn("tool", "4 C", tool_call_id="c1", name="look")
"""Rows as OpenAI's API writes them."""
CALLED = checked_messages([CALL, COLD])


def show(tokenizer: PreTrainedTokenizerFast, ids: Any, mask: Any) -> str:
    pieces = [
        (bit, [token for token, _ in run])
        for bit, run in groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    ]
    return "".join(f"«{tokenizer.decode(piece)}»" if bit else str(tokenizer.decode(piece)) for bit, piece in pieces)


def trained(family: str, turns: list[Turn], tools: Any = None, **settings: Any) -> list[str]:
    tokenizer = tokenizer_with(family)
    made = Renderer.create(DatasetConfig(path="x", **settings), tokenizer).dialogue(turns, tools)
    return [show(tokenizer, *one) for one in made]


def load(loader: Any, path: Path, family: str, *rows: Any, strict: bool = False, **settings: Any) -> Loaded[Any]:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return loader(DatasetConfig(path=str(file), **settings), tokenizer_with(family), 1000, strict, path / "aside.jsonl")


def reasons(path: Path) -> list[str]:
    return [json.loads(line)["reason"] for line in read_lines(path / "aside.jsonl")]


H, L = "<|start|>system<|message|>You are a model.<|end|>", ("<|start_header_id|>", "<|end_header_id|>\n\n")
DIALOGUES = {
    "chatml": [
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n«4<|im_end|>»\n"
        "<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n«6<|im_end|>»"
    ],
    "llama3": [
        f"<|begin_of_text|>{L[0]}user{L[1]}2+2?<|eot_id|>{L[0]}assistant{L[1]}«4<|eot_id|>»"
        f"{L[0]}user{L[1]}3+3?<|eot_id|>{L[0]}assistant{L[1]}«6<|eot_id|>»"
    ],
    "gemma": [
        "<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n«4<end_of_turn>»\n"
        "<start_of_turn>user\n3+3?<end_of_turn>\n<start_of_turn>model\n«6<end_of_turn>»"
    ],
    "mistral": ["<s>[INST] 2+2? [/INST]« 4</s>»[INST] 3+3? [/INST]« 6</s>»"],
    "llama2": ["<s>[INST] 2+2? [/INST]« 4 </s>»<s>[INST] 3+3? [/INST]« 6 </s>»"],
    # Its special tokens swallow the line break behind them; the second token that closes a dialogue is not trained.
    "phi3": ["<|user|>2+2?<|end|><|assistant|>«4<|end|>»<|user|>3+3?<|end|><|assistant|>«6<|end|>»"],
    "zephyr": ["<|user|>\n2+2?</s>\n<|assistant|>\n«4</s>»\n<|user|>\n3+3?</s>\n<|assistant|>\n«6</s>»"],
    # A sample goes on from earlier turns without their thinking, or ended by <|end|>: each turn has a sequence.
    "qwen3": [
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n«<think>\n\n</think>\n\n4<|im_end|>»",
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n«<think>\n\n</think>\n\n6<|im_end|>»",
    ],
    "harmony": [
        f"{H}<|start|>user<|message|>2+2?<|end|><|start|>assistant«<|channel|>final<|message|>4<|return|>»",
        f"{H}<|start|>user<|message|>2+2?<|end|><|start|>assistant<|channel|>final<|message|>4<|end|>"
        "<|start|>user<|message|>3+3?<|end|><|start|>assistant«<|channel|>final<|message|>6<|return|>»",
    ],
}


@pytest.mark.parametrize("family", DIALOGUES)
def test_each_turn_is_trained_once_after_what_a_sample_goes_on_from(family: str):
    assert trained(family, [ASK, FOUR, AGAIN, SIX]) == DIALOGUES[family]
    tokenizer = tokenizer_with(family)
    render = Renderer.create(DatasetConfig(path="x"), tokenizer)
    for prompt, answer in (([ASK], "4"), ([ASK, FOUR, AGAIN], "6")):
        before = render.prompt(prompt)[1]
        whole, mask = render.demonstration(prompt, answer)
        assert (whole[: len(before)], mask[: len(before)]) == (before, [0] * len(before))
        assert all(mask[len(before) :])
        assert tokenizer.decode(whole[-1:]) == FAMILIES[family].end


@pytest.mark.parametrize("family", DIALOGUES)
def test_of_pairs_of_dialogues_the_last_turn_is_trained(tmp_path: Path, family: str):
    (pair,) = load(
        load_comparisons, tmp_path, family, {"chosen": [ASK, FOUR, AGAIN, SIX], "rejected": [ASK, FOUR, AGAIN, SEVEN]}
    ).rows
    last = DIALOGUES[family][-1].rpartition("«")
    wanted = last[0].replace("«", "").replace("»", "") + "«" + last[2]
    shown = [show(tokenizer_with(family), one.token_ids, one.loss_mask) for one in pair.answers]
    assert shown == [wanted, wanted.replace("6", "7")]


def test_a_template_whose_answers_go_on_from_something_else_trains_nothing(tmp_path: Path):
    """DeepSeek-R1's asks with an open <think> that no rendered answer has."""
    with pytest.raises(
        NoUsableRow, match=r"turn 2 \(assistant\): a sample goes on from '.Assistant.><think>\\n' in the chat"
    ):
        load(load_demonstrations, tmp_path, "r1", {"messages": [ASK, FOUR]})


def test_thinking_of_earlier_turns_is_trained_where_it_is_the_last_turn():
    thinks = [ASK, turn("assistant", "<think>\na\n</think>\n\n4"), AGAIN, turn("assistant", "6", reasoning_content="b")]
    first = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert trained("qwen3", thinks) == [
        f"{first}«<think>\na\n</think>\n\n4<|im_end|>»",
        f"{first}4<|im_end|>\n<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n«<think>\nb\n</think>\n\n6<|im_end|>»",
    ]


def test_a_load_counts_a_row_of_several_sequences_once(tmp_path: Path):
    loaded = load(
        load_demonstrations, tmp_path, "qwen3", {"messages": [ASK, FOUR, AGAIN, SIX]}, {"messages": [ASK, FOUR]}
    )
    assert (loaded.report.kept, [row.row_id for row in loaded.rows]) == (2, ["train:1", "train:1", "train:2"])


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        (({"weight": 0}, {}), "4<|im_end|>…«6<|im_end|>»"),
        (({"train": False}, {"train": True}), "4<|im_end|>…«6<|im_end|>»"),
        (({"weight": 1.0}, {"weight": None}), "«4<|im_end|>»…«6<|im_end|>»"),
        (({"weight": 1}, {"weight": 0}), "«4<|im_end|>»"),
    ],
)
def test_weights_are_obeyed(tmp_path: Path, weights: tuple[Turn, Turn], wanted: str):
    (row,) = load(
        load_demonstrations,
        tmp_path,
        "chatml",
        {"messages": [ASK, {**FOUR, **weights[0]}, AGAIN, {**SIX, **weights[1]}]},
    ).rows
    ask, again = (f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in ("2+2?", "3+3?"))
    assert show(tokenizer_with("chatml"), row.token_ids, row.loss_mask) == ask + wanted.replace("…", "\n" + again)


def test_functions_and_their_calls_are_tools(tmp_path: Path):
    """As OpenAI's API had them before it had tools; nothing else is trained."""
    call = turn("assistant", None, function_call=CALL["tool_calls"][0]["function"])
    row = {"messages": [ASK, call, turn("function", "4 C", name="look"), FOUR]}
    for functions in (named := [tool["function"] for tool in TOOLS], json.dumps(named)):
        loaded = load(load_demonstrations, tmp_path, "qwen3", {**row, "functions": functions}, strict=True)
        shown = [show(tokenizer_with("qwen3"), one.token_ids, one.loss_mask) for one in loaded.rows]
        assert shown == trained("qwen3", [ASK, *CALLED, FOUR], TOOLS)


def test_tool_calls_tools_and_results_are_rendered():
    qwen, harmony, llama = (trained(family, [ASK, *CALLED, FOUR], TOOLS) for family in ("qwen3", "harmony", "llama3"))
    assert qwen == [
        f"<|im_start|>system\n# Tools\n\n{json.dumps(TOOLS[0])}<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
        f"<|im_start|>assistant\n{rest}"
        for rest in (
            "«<think>\n\n</think>\n\n"
            '<tool_call>\n{"name": "look", "arguments": {"at": "Oslo"}}\n</tool_call><|im_end|>»',
            '<tool_call>\n{"name": "look", "arguments": {"at": "Oslo"}}\n</tool_call><|im_end|>\n'
            "<|im_start|>user\n<tool_response>\n4 C\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n«<think>\n\n</think>\n\n4<|im_end|>»",
        )
    ]
    assert harmony == [
        f'{H}<|start|>developer<|message|>\ntype look = {{"type": "object"}}<|end|><|start|>user<|message|>2+2?<|end|>'
        '<|start|>assistant« to=functions.look<|channel|>commentary json<|message|>{"at": "Oslo"}<|call|>»'
        '<|start|>functions.look to=assistant<|channel|>commentary<|message|>"4 C"<|end|>'
        "<|start|>assistant«<|channel|>final<|message|>4<|return|>»"
    ]
    # Arguments that came as JSON are not escaped a second time.
    assert f'{L[0]}assistant{L[1]}«{{"name": "look", "parameters": {{"at": "Oslo"}}}}<|eot_id|>»' in llama[0]


def test_a_template_that_takes_arguments_as_json_gets_them_so():
    tokenizer = tokenizer_with("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ':' + m.content }}"
        "{% for call in m.tool_calls or [] %}{{ call.function.name + call.function.arguments }}{% endfor %}"
        "{{ eos_token }}{% endfor %}"
    )
    (one,) = Renderer.create(DatasetConfig(path="x"), tokenizer).dialogue([ASK, CALLED[0]])
    assert show(tokenizer, *one) == 'user:2+2?<|endoftext|>«assistant:look{"at": "Oslo"}<|endoftext|>»'


UNSHOWN = "; data.*.ignore: [messages.{0}] leaves that out of all rows"
ASIDE = {
    "reasoning_content": (
        [ASK, {**FOUR, "reasoning_content": "two and two"}],
        "turn 2 (assistant): the chat template does not show its 'reasoning_content'"
        + UNSHOWN.format("reasoning_content"),
    ),
    "name": (
        [ASK, FOUR, {**AGAIN, "name": "Ada"}, SIX],
        "turn 3 (user): the chat template does not show its 'name'" + UNSHOWN.format("name"),
    ),
    "tool_calls": (
        [ASK, CALL, COLD, FOUR],
        "turn 2 (assistant): the chat template does not show its 'tool_calls'" + UNSHOWN.format("tool_calls"),
    ),
}


@pytest.mark.parametrize("key", ASIDE)
@pytest.mark.parametrize("family", ["chatml", "zephyr", "phi3"])
def test_what_a_template_does_not_show_puts_the_row_aside_by_name(tmp_path: Path, family: str, key: str):
    turns, reason = ASIDE[key]
    loaded = load(load_demonstrations, tmp_path, family, {"messages": turns}, {"messages": [ASK, FOUR]})
    assert [row.row_id for row in loaded.rows] == ["train:2"]
    assert reasons(tmp_path) == [reason]


def test_keys_that_are_to_be_ignored_are_no_reason_to_put_a_row_aside(tmp_path: Path):
    row = {"messages": [{**ASK, "at": "noon"}, {**FOUR, "at": "one"}]}
    with pytest.raises(NoUsableRow, match="does not show its 'at'"):
        load(load_demonstrations, tmp_path, "chatml", row)
    (kept,) = load(load_demonstrations, tmp_path, "chatml", row, ignore=("messages.at",)).rows
    wanted = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n«4<|im_end|>»"
    assert show(tokenizer_with("chatml"), kept.token_ids, kept.loss_mask) == wanted


def test_keys_without_a_value_say_nothing(tmp_path: Path):
    """As Parquet fills up the keys of a struct."""
    empty = {"tool_calls": None, "name": None, "reasoning_content": "", "weight": None, "tools": []}
    loaded = load(
        load_demonstrations, tmp_path, "chatml", {"messages": [{**ASK, **empty}, {**FOUR, **empty}]}, strict=True
    )
    assert len(loaded.rows) == 1


def test_a_tool_s_result_may_end_the_prompt(tmp_path: Path):
    row = {"messages": [turn("user", "Weather in Oslo?"), turn("assistant", "Let me look."), turn("tool", "4 C")]}
    (prompt,) = load(load_prompts, tmp_path, "chatml", row).rows
    assert prompt.text.endswith("<|im_start|>tool\n4 C<|im_end|>\n<|im_start|>assistant\n")
    for loader in (load_prompts, load_demonstrations):
        with pytest.raises(NoUsableRow, match=r"turn 3 \(tool\): the chat template does not show its text"):
            load(loader, tmp_path, "zephyr", row)
        with pytest.raises(NoUsableRow, match="the chat template refuses it: Message has tool role, but there was"):
            load(loader, tmp_path, "harmony", row)


def test_results_in_another_order_than_their_calls_need_their_ids_shown():
    calls = [{"id": name, "type": "function", "function": {"name": "look", "arguments": {}}} for name in "ab"]
    asked = [ASK, turn("assistant", "", tool_calls=calls)]
    one, two = (turn("tool", text, tool_call_id=name) for text, name in (("1", "a"), ("2", "b")))
    assert "1\n</tool_response>\n<tool_response>\n2" in trained("qwen3", [*asked, one, two, FOUR])[-1]
    with pytest.raises(BadRow, match=r"turn 3 \(tool\): the chat template does not show its 'tool_call_id'"):
        trained("qwen3", [*asked, two, one, FOUR])


def test_text_beside_a_tool_call_that_the_template_drops_puts_the_row_aside():
    (call,) = checked_messages([{**CALL, "content": "I look."}])
    assert "«<think>\n\n</think>\n\nI look.\n<tool_call>" in trained("qwen3", [ASK, call])[0]
    with pytest.raises(BadRow, match=r"turn 2 \(assistant\): the chat template does not show its text"):
        trained("llama3", [ASK, call])


def test_system_texts_are_merged_or_refused():
    merged = (
        "<|im_start|>system\nAdd.\n\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
        "<|im_start|>assistant\n«4<|im_end|>»"
    )
    assert trained("chatml", [turn("system", "Add."), BRIEF, ASK, FOUR]) == [merged]
    assert trained("chatml", [BRIEF, ASK, FOUR], system_prompt="Add.") == [merged]
    assert trained("llama2", [BRIEF, ASK, FOUR], system_prompt="Add.") == [
        "<s>[INST] <<SYS>>\nAdd.\n\nBe brief.\n<</SYS>>\n\n2+2? [/INST]« 4 </s>»"
    ]
    for family in ("llama2", "harmony"):
        with pytest.raises(BadRow, match=r"turn 3 \(system\): the chat template does not show its text"):
            trained(family, [ASK, FOUR, BRIEF, AGAIN, SIX], system_prompt="Add.")
    with pytest.raises(BadRow, match="the chat template refuses it: System role not supported"):
        trained("gemma", [ASK, FOUR], system_prompt="Add.")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_assistant_who_speaks_first_is_one_row_put_aside(tmp_path: Path, family: str):
    rows = [{"messages": [turn("assistant", "Hello!"), ASK, FOUR]}, {"messages": [ASK, FOUR]}]
    loaded = load(load_demonstrations, tmp_path, family if family != "r1" else "chatml", *rows)
    assert {row.row_id for row in loaded.rows} == {"train:2"}
    (reason,) = reasons(tmp_path)
    assert (
        "roles must alternate" in reason
        or reason == "turn 1 (assistant): nobody speaks before it, so no prompt leads to it"
    )


def test_an_opening_that_is_not_trained_may_stay():
    (shown,) = trained("chatml", [turn("assistant", "Hello!", weight=0), ASK, FOUR])
    assert shown.startswith("<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\n2+2?")
    assert shown.endswith("assistant\n«4<|im_end|>»")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0].content + messages[0].nothing }}", "'dict object' has no attribute 'nothing'"),
        ("{{ messages[0].content + 1 }}", 'can only concatenate str (not "int") to str'),
        (
            "{{ 1 // (messages[0].content | length - 4) }}{{ messages[0].content }}",
            "integer division or modulo by zero",
        ),
        ("{{ [].pop() }}", "access to attribute 'pop' of 'list' object is unsafe"),
    ],
)
def test_whatever_a_template_raises_the_row_is_put_aside(tmp_path: Path, template: str, reason: str):
    tokenizer, file = tokenizer_with("chatml"), tmp_path / "rows.jsonl"
    tokenizer.chat_template = (
        "{% if messages[0].content == '2+2?' %}" + template + "{% endif %}" + str(tokenizer.chat_template)
    )
    file.write_text("".join(json.dumps({"messages": [ask, FOUR]}) + "\n" for ask in (ASK, AGAIN)))
    for loader in (load_prompts, load_demonstrations):
        loaded = loader(DatasetConfig(path=str(file)), tokenizer, 1000, False, tmp_path / "aside.jsonl")
        assert [id_of(row) for row in loaded.rows] == ["train:2"]
        (found,) = reasons(tmp_path)
        assert found.startswith("the chat template refuses it: ")
        assert reason in found
        assert "\n" not in found


@pytest.mark.parametrize("said", ["4{}", "4{0}{0}", "4{}\n"])
@pytest.mark.parametrize("family", DIALOGUES)
def test_an_end_that_the_answer_brings_is_trained_once(family: str, said: str):
    own = FAMILIES[family]
    for end in {own.eos, own.end}:
        assert trained(family, [ASK, turn("assistant", said.format(end)), AGAIN, SIX]) == DIALOGUES[family]
    with pytest.raises(BadRow, match=r"turn 2 \(assistant\) is empty"):
        trained(family, [ASK, turn("assistant", own.end)])


def test_a_plain_answer_has_one_eos_and_a_plain_prompt_one_bos():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tokenizer_with("mistral")
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    render = Renderer.create(DatasetConfig(path="x", chat_template="never"), tokenizer)
    for prompt, answer in (("a", "b"), ("<s>a", "b</s>")):
        assert render.demonstration(prompt, answer) == ([bos, 97, 98, eos], [0, 0, 1, 1])


def test_half_a_character_is_one_row_put_aside(tmp_path: Path):
    rows = [
        {"prompt": "cut emoji \ud83d", "answer": "ok"},
        {"prompt": "hi", "answer": "there"},
        {"prompt": "hi", "answer": "\udc00"},
    ]
    for loader in (load_prompts, load_demonstrations):
        assert len(load(loader, tmp_path, "chatml", *rows).rows) == 1
        assert reasons(tmp_path) == [
            r"the column 'prompt' has half a character (\ud83d)",
            r"the column 'answer' has half a character (\udc00)",
        ]
