"""What the chat template of a judge's model is given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rlsys.config.judge import JudgeConfig


@pytest.mark.parametrize(
    ("backend", "given", "taken"),
    [
        ("vllm", None, {"enable_thinking": False}),
        ("rollout", None, {"enable_thinking": False}),
        ("openai", None, {}),
        ("vllm", {}, {}),
        ("vllm", {"effort": "low", "steps": 3}, {"effort": "low", "steps": 3}),
        ("openai", {"enable_thinking": False}, {"enable_thinking": False}),
    ],
)
def test_thinking_is_off_unless_the_user_says_otherwise_and_an_endpoint_is_sent_nothing_unasked(
    backend: str, given: Any, taken: Any
):
    assert JudgeConfig.model_validate({"backend": backend, "template_args": given}).template_variables == taken


def test_what_renders_the_chat_is_no_variable():
    with pytest.raises(ValidationError, match="chat_template, tokenize: is set by the rendering of chats itself"):
        JudgeConfig(template_args={"tokenize": True, "effort": "low", "chat_template": "x"})
