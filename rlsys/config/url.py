"""Addresses of services, as settings."""

from __future__ import annotations

from typing import Annotated

import httpx
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def _usable(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise PydanticCustomError("url", "not a URL: {error}", {"error": str(error)}) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise PydanticCustomError("url", "must be http://HOST... or https://HOST...")
    if parsed.userinfo:
        raise PydanticCustomError(
            "url", "must not hold a user or password: put a token into an environment variable, its name into key_env"
        )
    return url


def _bare(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.query or parsed.fragment:
        raise PydanticCustomError(
            "url",
            "must end before any ? or #: paths are added to it; put a key into an environment variable, its name into "
            "key_env",
        )
    if parsed.path.rstrip("/").endswith("/completions"):
        raise PydanticCustomError("url", "must leave out /chat/completions (and /completions): it is added to it")
    return url


Url = Annotated[str, AfterValidator(_usable)]
"""http or https, without a user or password in it."""
BaseUrl = Annotated[Url, AfterValidator(_bare)]
"""One that paths are added to: it has no query, in which a key could stand."""
