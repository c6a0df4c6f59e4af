"""What ends a turn in the templates of well-known families, and who is told so."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from support.chat_templates import FAMILIES, tokenizer_with
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.errors import ConfigError
from rlsys.models.export import write_model
from rlsys.models.stop_tokens import save_generation_config, stop_token_ids
from rlsys.models.turn_ends import turn_end_ids
from rlsys.playground.models import byte_tokenizer

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
IM = ("<|im_start|>", "<|im_end|>")
CHATML = FAMILIES["chatml"].template
EOM = FAMILIES["llama3"].template.replace("arguments | tojson + '}<|eot_id|>'", "arguments | tojson + '}<|eom_id|>'")
IN_JSON = FAMILIES["harmony"].template.replace("call.arguments | tojson", "call.arguments")
GLM4 = (
    "{{ '[gMASK]<sop>' }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
COMMAND = (
    "{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|>' }}{% if m.role == 'user' %}{{ '<|USER_TOKEN|>' + m.content }}"
    "{% else %}{{ '<|CHATBOT_TOKEN|><|START_RESPONSE|>' + m.content + '<|END_RESPONSE|>' }}{% endif %}"
    "{{ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)
COMMAND_TOKENS = (
    *("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)


def bytes_with(
    template: str | None, eos: str, special: tuple[str, ...] = (), added: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and these tokens, of which none but EOS has a role, as with most base models."""
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().backend_tokenizer, eos_token=eos)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    tokenizer.chat_template = template
    return tokenizer


FURTHER = {
    "chatml, instruct": bytes_with(CHATML, "<|im_end|>", IM[:1]),
    "chatml, end not special": bytes_with(CHATML, "<e>", IM[:1], IM[1:]),
    "llama 3.1, built-in tools": bytes_with(
        EOM,
        "<|end_of_text|>",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    ),
    "harmony, arguments in JSON": bytes_with(IN_JSON, "<|return|>", FAMILIES["harmony"].special),
    "glm4": bytes_with(GLM4, "<|endoftext|>", ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>")),
    "command r7b": bytes_with(COMMAND, "<|END_OF_TURN_TOKEN|>", COMMAND_TOKENS),
}
BY_HAND = {
    "chatml": ("<|endoftext|> <|im_end|>", "a<|im_end|>"),
    "llama3": ("<|end_of_text|> <|eot_id|>", "a<|eot_id|>"),
    "gemma": ("<eos> <end_of_turn>", "a<end_of_turn>"),
    "mistral": ("</s>", " a</s>"),
    "llama2": ("</s>", " a </s>"),
    "phi3": ("<|endoftext|> <|end|>", "a<|end|>"),
    "qwen3": ("<|im_end|>", "<think>\n\n</think>\n\na<|im_end|>"),
    "harmony": ("<|return|> <|call|>", "<|channel|>final<|message|>a<|return|>"),
    "zephyr": ("</s>", "a</s>"),
    "r1": ("<｜end▁of▁sentence｜>", None),
    "chatml, instruct": ("<|im_end|>", "a<|im_end|>"),
    "chatml, end not special": ("<e> <|im_end|>", "a<|im_end|>"),
    "llama 3.1, built-in tools": ("<|end_of_text|> <|eot_id|> <|eom_id|>", "a<|eot_id|>"),
    "harmony, arguments in JSON": ("<|return|> <|call|>", "<|channel|>final<|message|>a<|return|>"),
    "glm4": ("<|endoftext|>", "a<|endoftext|>"),
    "command r7b": ("<|END_OF_TURN_TOKEN|>", "<|START_RESPONSE|>a<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
}
"""The ends of turns, EOS first, and what of the answer `a` is trained. R1's distilled models go on from a `<think>`
that their answers lack."""


def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    return FURTHER[family] if family in FURTHER else tokenizer_with(family)


@pytest.mark.parametrize("family", BY_HAND)
def test_the_ends_of_turns(family: str) -> None:
    tokenizer: Any = tokenizer_of(family)
    assert tokenizer.convert_ids_to_tokens(turn_end_ids(tokenizer, templated=True)) == BY_HAND[family][0].split()
    assert turn_end_ids(tokenizer, templated=False) == (tokenizer.eos_token_id,)


@pytest.mark.parametrize("family", [family for family, (_, taught) in BY_HAND.items() if taught])
def test_what_is_taught_ends_at_the_first_token_that_a_sampler_stops_at(family: str) -> None:
    tokenizer = tokenizer_of(family)
    renderer = Renderer.create(DatasetConfig(path="x"), tokenizer)
    ((ids, mask),) = renderer.dialogue(TURNS)
    trained = [token for token, bit in zip(ids, mask, strict=True) if bit]
    assert tokenizer.decode(trained) == BY_HAND[family][1]
    ends = turn_end_ids(tokenizer, templated=True)
    assert [place for place, token in enumerate(trained) if token in ends] == [len(trained) - 1]
    assert ids[: -len(trained)] == renderer.prompt("q")[1]  # so it ends with them


def test_an_end_that_is_none_is_not_taught() -> None:
    """gpt-oss writes `<|end|>` after a turn that another follows; where training marks whole turns, it is in the
    mark."""
    tokenizer, answer = tokenizer_with("harmony"), "'<|channel|>final<|message|>' + m.content"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|start|>' + m.role }}{% if m.role == 'user' %}{{ '<|message|>' + m.content + "
        "'<|end|>' }}"
        "{% else %}{% generation %}{{ " + answer + " + ('<|return|>' if loop.last else '<|end|>') }}{% endgeneration %}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
    )
    sequences = Renderer.create(DatasetConfig(path="x"), tokenizer).dialogue(TURNS * 2)
    trained = [tokenizer.decode([token for token, bit in zip(*one, strict=True) if bit]) for one in sequences]
    assert trained == ["<|channel|>final<|message|>a<|return|>"] * 2


def test_without_a_template_and_with_one_that_can_not_render_an_answer_only_eos_ends() -> None:
    for template in (None, "{{ messages[0].content / 2 }}", "{{ messages[0].content }}"):
        tokenizer = bytes_with(template, "<e>")
        assert turn_end_ids(tokenizer, templated=template is not None) == (tokenizer.eos_token_id,)


@pytest.mark.parametrize(("chat_template", "refused"), [("auto", True), ("never", False)])
def test_an_end_that_is_text_is_refused_where_the_template_is_used(chat_template: Any, refused: bool) -> None:
    tokenizer = bytes_with(CHATML, "<e>")
    tokenizer.name_or_path = "my/base"
    config = DatasetConfig(path="rows.jsonl", chat_template=chat_template)
    if not refused:
        assert Renderer.create(config, tokenizer).demonstration("q", "a")[0][-1] == tokenizer.eos_token_id
        return
    with pytest.raises(ConfigError) as caught:
        Renderer.create(config, tokenizer)
    assert str(caught.value) == (
        "rows.jsonl: the chat template of 'my/base' ends an assistant's turn with the text '<|im_end|>', which is no "
        "token of the "
        "tokenizer, so no sampler can stop there; add it to the tokenizer as a special token, end the turn with "
        "eos_token, or set "
        "chat_template: never"
    )


def copied(model: Path, folder: Path, generation: dict[str, Any] | None, template: str | None = None) -> Path:
    shutil.copytree(model, folder)
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


PUBLISHED = {"eos_token_id": [258, 261, 7], "temperature": 0.6, "top_p": 0.9, "max_length": 128}
"""Like many published ones, it has a temperature and no do_sample, which `save_pretrained` refuses."""


@pytest.mark.parametrize(
    ("generation", "templated", "wanted"),
    [
        (None, True, (258, 259)),
        (None, False, (258,)),
        ({"eos_token_id": 258}, True, (258, 259)),
        (PUBLISHED, True, (258, 259, 261, 7)),
    ],
)
def test_stop_tokens_are_eos_the_template_s_and_the_model_s_own(
    tiny: Path, tmp_path: Path, generation: dict[str, Any] | None, templated: bool, wanted: tuple[int, ...]
) -> None:
    model = copied(
        tiny, tmp_path / "model", generation, "{% for m in messages %}{{ m.content + '<|system|>' }}{% endfor %}"
    )
    assert stop_token_ids(AutoTokenizer.from_pretrained(model), model, templated) == wanted


def test_an_exported_model_stops_in_plain_transformers_and_its_group_may_read_it(tiny: Path, tmp_path: Path) -> None:
    source: Any = AutoModelForCausalLM.from_pretrained(
        copied(tiny, tmp_path / "source", PUBLISHED), dtype=torch.float32
    )
    asked = torch.tensor([[80, 81, 82]])
    endless = source.generate(asked, eos_token_id=None, do_sample=False, max_new_tokens=12)[0, 3:].tolist()
    end = endless[5]
    before = os.umask(0o027)
    try:
        write_model(
            tmp_path / "final",
            tmp_path / "source",
            torch.float32,
            dict(source.named_parameters()),
            "Qwen3ForCausalLM",
            None,
        )
        save_generation_config(tmp_path / "final", tmp_path / "source", [258, end])
    finally:
        os.umask(before)
    written = json.loads((tmp_path / "final" / "generation_config.json").read_text())
    assert {key: written[key] for key in PUBLISHED} == PUBLISHED | {"eos_token_id": [258, end]}
    exported: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32)
    answer = exported.generate(asked, do_sample=False, max_new_tokens=12)[0, 3:].tolist()
    assert answer == endless[: endless.index(end) + 1]
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "final").iterdir()}
    assert files == dict.fromkeys(files, 0o640)
    assert {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    } <= files.keys()
