"""The key is sent, and nothing else that is secret; none of it is ever shown."""

from __future__ import annotations

import pytest
from support.chat_bodies import chat
from support.echo_endpoint import GOOD, TEXT, poison
from support.fault_server import Server, drips, says

from rlsys.errors import ConfigError, JudgeOutage
from rlsys.judging.backend import Failure


def test_the_key_is_sent_and_never_shown(ask, connect, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    refusal = chat(None)
    refusal["choices"][0]["message"]["refusal"] = "s3cret?"
    leaks = [
        says({"error": "bad key s3cret"}, 400),
        says(refusal),
        says(chat(), Content_Encoding="s3cret"),
        says(b'{"s3cret'),
        drips(b"s3cret s3cret\r\n\r\n", b"s3cret\r\n"),
        poison(says({"error": "s3cret"}, 500, WWW_Authenticate="s3cret")),
    ]
    for leak in leaks:
        result = ask(leak, GOOD, key_env="JUDGE_KEY") if leak is leaks[4] else ask(leak, key_env="JUDGE_KEY")
        assert isinstance(result, Failure)
        assert "s3cret" not in repr(result)
        assert server.seen[0][1]["Authorization"] == "Bearer s3cret"
    backend = connect(key_env="JUDGE_KEY")
    assert "s3cret" not in repr(backend) + repr(backend._client) + repr(backend._client.api_key) + backend.identity
    for status, error in ((500, JudgeOutage), (401, ConfigError)):
        server.acts = [says({"error": "bad key s3cret"}, status, Retry_After="s3cret")]
        with pytest.raises(error) as caught:
            backend.ask([TEXT])
        assert "s3cret" not in str(caught.value)


def test_nothing_of_the_environment_is_sent(ask, server: Server, monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "mine")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(GOOD).text == "fine"
    assert "mine" not in str(server.seen[0][1])


@pytest.mark.parametrize(("value", "message"), [(None, "is not set"), ("s3cret\n", "has spaces, line ends")])
def test_a_key_that_can_not_be_sent(connect, monkeypatch: pytest.MonkeyPatch, value: str | None, message: str):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(ConfigError, match=f"judge.endpoint.key_env: .*JUDGE_KEY {message}"):
        connect(key_env="JUDGE_KEY")
