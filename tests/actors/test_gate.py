"""What stands before vLLM's server, before an app that tells what reached it. As in vLLM, the key is looked for
behind the gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, FastAPI
from starlette.responses import JSONResponse
from support.adapted import adapted, saved

from actors.gate import SETTINGS, Gate, Settings
from rlsys.models.adapters import lora
from rlsys.playground.models import build
from rlsys.serving.adapters import Base
from rlsys.serving.router import RouterConfig

Post = Callable[..., httpx.Response]


class NeedsKey:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"authorization", b"Bearer k") not in scope["headers"]:
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Posts JSON to the app behind the gate of the model "mine" in folder `tiny`, which answers with what it got."""
    rules = [{"regex": "^a", "adapter": "first"}, {"regex": "^b", "adapter": "base"}]
    router = RouterConfig.model_validate({"rules": rules})
    base = Base(build("0.5m", tmp_path / "tiny"))
    monkeypatch.setenv(SETTINGS, Settings("mine", base, 8, tmp_path / "copies", router).dump())
    app = FastAPI()

    @app.post("/{path:path}")
    async def told(path: str, body: Annotated[Any, Body()]) -> Any:
        return body

    app.add_middleware(NeedsKey)
    app.add_middleware(Gate)

    def posted(path: str, body: Any, key: str = "k") -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
                return await client.post(path, content=content, headers=headers)

        return asyncio.run(ask())

    return posted


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/anything"])
def test_who_answers_is_written_into_the_request(post: Post, path: str):
    messages = [{"role": "user", "content": "abc"}]
    for asked, told in (("auto", "first"), ("second", "second"), ("mine", "mine")):
        request = {"model": asked, "messages": messages, "n": 2}
        assert post(path, request).json() == request | {"model": told}
    assert post(path, {"model": "auto", "prompt": "b"}).json() == {"model": "mine", "prompt": "b"}


def test_a_request_without_a_route_is_refused(post: Post):
    reply = post("/v1/completions", {"model": "auto", "prompt": "c"})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("no rule of the router fits this request")


def test_what_is_no_request_passes_unchanged(post: Post):
    assert post("/v1/completions", [1, 2]).json() == [1, 2]
    assert post("/v1/completions", b"{no").status_code == 422
    assert post("/v1/load_lora_adapter", {"lora_name": "x"}).json() == {"lora_name": "x"}


def test_an_adapter_that_fits_is_loaded_from_its_copy(post: Post, tmp_path: Path):
    run = tmp_path / "run"
    saved(adapted(tmp_path / "tiny", lora.Config(rank=8)), run / "final" / "adapter", tmp_path / "tiny")
    request = {"lora_name": "second", "lora_path": str(run), "load_inplace": True}
    told = post("/v1/load_lora_adapter", request).json()
    (copy,) = (tmp_path / "copies").iterdir()
    assert told == request | {"lora_path": str(copy)}
    original = run / "final" / "adapter" / "adapter_model.safetensors"
    assert (copy / original.name).read_bytes() == original.read_bytes()


@pytest.mark.parametrize(
    ("name", "rank", "change_base", "message"),
    [
        ("second", 8, True, "adapter second: was trained on tiny@"),
        ("second", 9, False, "adapter second: has rank 9, and the server has room for 8; start it with --max-rank 9"),
        ("auto", 8, False, "adapter auto: the name 'auto' is taken"),
        ("base", 8, False, "adapter base: 'base' is what a router calls the model itself"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    post: Post, tmp_path: Path, name: str, rank: int, change_base: bool, message: str
):
    base = tmp_path / "tiny"
    saved(adapted(base, lora.Config(rank=rank)), tmp_path / "adapter", base)
    if change_base:
        config = base / "config.json"
        config.write_text(config.read_text() + "\n")
    reply = post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(tmp_path / "adapter")})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith(message)
    assert not (tmp_path / "copies").exists()


def test_without_a_key_nothing_is_looked_at(post: Post, tmp_path: Path):
    """Neither whether there is such an adapter, nor which rule fits."""
    for request in ({"lora_name": "x", "lora_path": str(tmp_path / "nowhere")}, {"model": "auto", "prompt": "c"}):
        reply = post("/v1/load_lora_adapter" if "lora_name" in request else "/v1/completions", request, key="wrong")
        assert (reply.status_code, reply.json()) == (401, {"error": "Unauthorized"})
