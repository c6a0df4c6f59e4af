"""Variables of the judge's chat template, on their way to an endpoint and in the cache."""

from __future__ import annotations

from pathlib import Path

from support.chat_bodies import chat
from support.fault_server import says, serving

from rlsys.config.judge import EndpointConfig
from rlsys.judging.backend import Reply, Request
from rlsys.judging.endpoint.cache import CachedBackend
from rlsys.judging.endpoint.openai_backend import OpenAIBackend

QUESTION = Request(({"role": "user", "content": "?"},), max_tokens=7)


def test_they_are_sent_and_a_reply_under_others_is_asked_anew(tmp_path: Path):
    cached = []
    with serving() as server:
        server.acts = [says(chat())]
        for variables in (
            {},
            {"steps": 3, "enable_thinking": False},
            {"enable_thinking": False, "steps": 3},
            {"enable_thinking": True},
        ):
            backend = OpenAIBackend(EndpointConfig(base_url=server.url), "judge", template_variables=variables)
            [reply] = CachedBackend(backend, tmp_path / "cache.sqlite").ask([QUESTION])
            assert isinstance(reply, Reply)
            cached.append((backend.identity.removeprefix(server.url), reply.cached))
            backend.close()
    assert cached == [
        (" judge", False),
        (' judge {"enable_thinking": false, "steps": 3}', False),
        (' judge {"enable_thinking": false, "steps": 3}', True),
        (' judge {"enable_thinking": true}', False),
    ]
    sent = [body.get("chat_template_kwargs") for _, _, body in server.seen]
    assert sent == [None, {"steps": 3, "enable_thinking": False}, {"enable_thinking": True}]
