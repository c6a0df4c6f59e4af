"""What stands before vLLM's server, in its process: adapters that do not fit the model are refused, and the router
chooses who answers.

A request's body is looked at when vLLM asks for it, which it does after it has looked for the API key: nobody without
one gets an answer from here. vLLM is told of this class by `--middleware`, and this of its settings by the environment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from rlsys.errors import ConfigError
from rlsys.serving.adapters import THE_MODEL, Base, check_name, fitting
from rlsys.serving.router import NoRoute, RouterConfig

SETTINGS = "RLSYS_GATE"
"""Variable of the environment that holds `Settings`."""
LOAD = "/v1/load_lora_adapter"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Settings:
    model: str
    """What requests call the served model."""
    base: Base
    rank: int
    """The largest that vLLM has made room for."""
    copies: Path
    """Folder of the adapters' copies."""
    router: RouterConfig | None

    def dump(self) -> str:
        router = self.router.model_dump(mode="json") if self.router else None
        paths = {"base": str(self.base.folder), "copies": str(self.copies)}
        return json.dumps({"model": self.model, "rank": self.rank, "router": router, **paths})

    @classmethod
    def parse(cls, text: str) -> Settings:
        found = json.loads(text)
        router = RouterConfig.model_validate(found["router"]) if found["router"] else None
        return cls(found["model"], Base(Path(found["base"])), found["rank"], Path(found["copies"]), router)


class Gate:
    """ASGI middleware."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settings = Settings.parse(os.environ[SETTINGS])

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            receive = self._changing(path, receive)
        await self.app(scope, receive, send)

    def _changing(self, path: str, receive: Receive) -> Receive:
        """Gives the whole body, changed, at the first call."""
        asked = False

        async def changed() -> Message:
            nonlocal asked
            if asked:
                return await receive()
            asked = True
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] != "http.request":  # the client has gone
                    return message
                body, more = body + message.get("body", b""), message.get("more_body", False)
            return {"type": "http.request", "body": await self._body(path, body), "more_body": False}

        return changed

    async def _body(self, path: str, body: bytes) -> bytes:
        """What vLLM gets to see. Raises HTTPException, which it answers with."""
        try:
            request = json.loads(body)
        except ValueError:
            return body  # vLLM has its own words for that
        if not isinstance(request, dict):
            return body
        router = self.settings.router
        if path == LOAD:
            return json.dumps(request | await asyncio.to_thread(self._loaded, request)).encode()
        if router is not None and request.get("model") == router.name:
            return json.dumps(request | {"model": await self._routed(router, request)}).encode()
        return body

    def _loaded(self, request: dict[str, Any]) -> dict[str, str]:
        """The adapter's copy as the path of a request to load it."""
        name, path = request.get("lora_name"), request.get("lora_path")
        if not isinstance(name, str) or not isinstance(path, str):
            return {}  # vLLM has its own words for that
        said = f"adapter {name}"
        try:
            check_name(said, name, (self.settings.router.name,) if self.settings.router else ())
            adapter = fitting(said, name, Path(path).expanduser(), self.settings.base)
            if adapter.rank > self.settings.rank:
                raise ConfigError(
                    f"{said}: has rank {adapter.rank}, and the server has room for {self.settings.rank}; start it with "
                    f"--max-rank {adapter.rank}"
                )
        except ConfigError as error:
            raise HTTPException(400, str(error)) from error
        if adapter.warning:
            logging.getLogger(__name__).warning(adapter.warning)
        return {"lora_path": str(adapter.copied(self.settings.copies))}

    async def _routed(self, router: RouterConfig, request: dict[str, Any]) -> str:
        try:
            chosen = await router.choose(request)
        except NoRoute as error:
            raise HTTPException(400 if router.classifier is None else 500, str(error)) from error
        return self.settings.model if chosen == THE_MODEL else chosen
