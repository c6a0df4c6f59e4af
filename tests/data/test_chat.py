from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from rlsys.config.dataset import DatasetConfig
from rlsys.data.chat import Renderer
from rlsys.data.raw import BadRow
from rlsys.errors import ConfigError
from rlsys.playground.models import BOS, EOS, byte_tokenizer

TURNS = [
    {"role": "user", "content": "ab"},
    {"role": "assistant", "content": "cd"},
    {"role": "user", "content": "e"},
    {"role": "assistant", "content": "f"},
]
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
CHATML = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|eos|>\n' }}{% endfor %}" + ASK
NO_END = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}" + ASK
MARK_WITHOUT_END = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}<|eos|>"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
FORGETFUL = "{% for m in messages %}<|{{ m.role }}|>{{ m.content if loop.last else '...' }}<|eos|>{% endfor %}"


def with_template(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def renderer(tokenizer: PreTrainedTokenizerFast, **settings) -> Renderer:
    return Renderer.create(DatasetConfig(path="x", **settings), tokenizer)


def trained(tokenizer: PreTrainedTokenizerFast, ids: list[int], mask: list[int]) -> str:
    """The text with what is trained in capitals and special tokens short."""
    text = ""
    for token, bit in zip(ids, mask, strict=True):
        piece = str(tokenizer.decode([token])).replace(EOS, "-")
        text += piece.upper().replace("-", "$") if bit else piece
    return text


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (None, "<|bos|><|user|>ab<|assistant|>CD$<|user|>e<|assistant|>F$"),
        (CHATML, "<|user|>ab-\n<|assistant|>CD$\n<|user|>e-\n<|assistant|>F$"),
        (NO_END, "<|user|>ab<|assistant|>CD<|user|>e<|assistant|>F$"),
        (MARK_WITHOUT_END, "<|user|>ab<|assistant|>CD$<|user|>e<|assistant|>F$"),
    ],
    ids=["generation marks", "no marks", "no end of turn", "marks stop short of the end of turn"],
)
def test_every_assistant_turn_and_its_end_is_trained_and_nothing_else(template: str | None, wanted: str):
    tokenizer = with_template(template) if template else byte_tokenizer()
    assert [trained(tokenizer, *one) for one in renderer(tokenizer).dialogue(TURNS)] == [wanted]


@pytest.mark.parametrize("template", [None, CHATML, NO_END])
def test_a_demonstration_starts_with_the_tokens_of_its_prompt(template: str | None):
    tokenizer = with_template(template) if template else byte_tokenizer()
    render = renderer(tokenizer, system_prompt="be brief")
    text, ids = render.prompt(TURNS[:3])
    ((whole, mask),) = render.dialogue(TURNS)
    assert whole[: len(ids)] == ids
    assert sum(mask[len(ids) :]) == len(whole) - len(ids) == 2
    assert tokenizer.decode(ids) == text
    assert "<|system|>be brief" in text
    (said,) = render.dialogue([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    assert render.demonstration("q", "a") == said


def test_a_template_that_forgets_what_was_said_is_refused():
    with pytest.raises(BadRow, match=r"turn 1 \(user\): the chat template does not show its text"):
        renderer(with_template(FORGETFUL)).dialogue(TURNS)


@pytest.mark.parametrize("settings", [{"chat_template": "never"}, {}], ids=["never", "no template"])
def test_plain_text(settings: dict):
    tokenizer = byte_tokenizer() if settings else with_template(None)
    render = renderer(tokenizer, **settings)
    assert render.prompt("ab") == ("ab", [97, 98])
    assert render.demonstration("ab", "c") == ([97, 98, 99, tokenizer.eos_token_id], [0, 0, 1, 1])
    for answer, trained_once in {f"c{EOS}\n": "c", f"c {EOS}": "c ", f"c{EOS}\n{EOS} ": "c", "c\n": "c\n"}.items():
        assert tokenizer.decode(render.demonstration("ab", answer)[0]) == f"ab{trained_once}{EOS}"
    with pytest.raises(BadRow, match="the answer is empty"):
        render.demonstration("ab", f" {EOS}\n")
    with pytest.raises(ConfigError, match="messages need a chat template"):
        render.prompt(TURNS[:1])


def test_plain_prompts_have_the_tokenizers_bos_and_no_eos():
    from tokenizers.processors import TemplateProcessing

    tokenizer = with_template(None)
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ids)
    assert renderer(tokenizer).prompt("a")[1] == [ids[0][1], 97]


def test_settings_that_do_not_fit_the_tokenizer():
    for settings, message in [
        ({"chat_template": "always"}, "has no chat template"),
        ({"system_prompt": "s"}, "system_prompt needs a chat template"),
    ]:
        with pytest.raises(ConfigError, match=message):
            renderer(with_template(None), **settings)


def test_a_row_that_the_template_refuses_is_one_bad_row(tmp_path: Path):
    from rlsys.data.load import load_prompts

    tokenizer = with_template(
        "{% if messages[0].content == 'b' %}{{ raise_exception('no b') }}{% endif %}{{ messages[0].content }}"
    )
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    loaded = load_prompts(DatasetConfig(path=str(file)), tokenizer, 10, False, tmp_path / "q.jsonl")
    assert loaded.report.kept == 1
    assert "the chat template refuses it: no b" in (tmp_path / "q.jsonl").read_text()
