"""The way to an OpenAI-compatible endpoint: the token in the header, replies no longer than allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2  # the client library's own


class Unreadable(httpx2.RequestError):
    """A body that is not read to its end."""


class Transport(httpx2.AsyncHTTPTransport):
    """Adds the key, here and nowhere else: no message of the client library can hold it. Reads plain bodies of at most
    `max_bytes`."""

    def __init__(self, token: str | None, max_bytes: int) -> None:
        super().__init__(trust_env=False, limits=httpx2.Limits(max_connections=None))
        self._token, self._max_bytes = token, max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for name in (
            "Authorization",
            "OpenAI-Organization",
            "OpenAI-Project",
        ):  # the client library reads them from the environment
            request.headers.pop(name, None)
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        encoding = response.headers.pop("Content-Encoding", "identity").strip().lower()
        plain_body = encoding == "identity"
        limit = self._max_bytes if plain_body else 0
        complaint = (
            f"the reply is larger than judge.endpoint.max_bytes ({limit})"
            if plain_body
            else f"the reply is encoded ({encoding})"
        )
        response.stream = Body(response.stream, limit, complaint if response.is_success else None)
        return response


class Body(httpx2.AsyncByteStream):
    """The first `limit` bytes of a stream. Where there are more, it raises Unreadable(`complaint`), or just ends if
    there is none."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int, complaint: str | None) -> None:
        self._stream, self._limit, self._complaint = stream, limit, complaint

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        async for chunk in self._stream:
            if len(chunk) > left:
                if self._complaint is not None:
                    raise Unreadable(self._complaint)
                return
            left -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
