"""How a judge's chat becomes the tokens that its engine sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from rlsys.errors import ConfigError
from rlsys.judging.backend import Message
from rlsys.models.decode import Decoder
from rlsys.playground.models import byte_tokenizer

if TYPE_CHECKING:
    from actors.engines.vllm_chat import ChatModel

pytestmark = pytest.mark.engine
QUESTION: tuple[Message, ...] = ({"role": "system", "content": "Judge."}, {"role": "user", "content": "A or B?"})
THINKS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content "
    "}}{% endfor %}>{% if enable_thinking is not false %}<think>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role\nnot supported') }}{% endif %}{{ "
    "messages[0].content }}"
)


def model(template: str | None, variables: Mapping[str, bool | int | str] | None = None) -> ChatModel:
    """Without an engine."""
    from actors.engines.vllm_chat import ChatModel  # vllm takes seconds to import

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return ChatModel(None, Decoder(tokenizer), 100, variables or {})  # type: ignore[arg-type]


def seen(chat_model: ChatModel, messages: tuple[Message, ...] = QUESTION) -> str:
    return chat_model.tokenizer.decode(chat_model.prompt(messages))


def test_variables_reach_the_template():
    assert seen(model(THINKS)) == "[system]Judge.[user]A or B?><think>"
    assert seen(model(THINKS, {"enable_thinking": False})) == "[system]Judge.[user]A or B?>"
    assert seen(model(THINKS, {"enable_thinking": True})) == "[system]Judge.[user]A or B?><think>"
    assert seen(model("{{ messages[1].content }}{{ effort }}", {"effort": "low"})) == "A or B?low"


def test_a_template_that_knows_no_system_role():
    with pytest.raises(ConfigError) as caught:
        model(NO_SYSTEM).prompt(QUESTION)
    assert str(caught.value) == (
        "judge.templates: the chat template of the judge's model refuses a chat of the roles system, user (System role "
        "not supported); "
        'where it knows no system role, give a file with `system: ""`'
    )
    assert seen(model(NO_SYSTEM), QUESTION[1:]) == "A or B?"


def test_no_template_at_all():
    with pytest.raises(
        ConfigError, match=r"^judge.model: the tokenizer .* has no chat template; take a model made for chats$"
    ):
        model(None).prompt(QUESTION)
