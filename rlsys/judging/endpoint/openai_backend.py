"""A judge behind an OpenAI-compatible endpoint. Single requests fail with their reason; while the endpoint is away, all
of them wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2  # the client library's own
import openai

from rlsys.config.judge import EndpointConfig
from rlsys.config.url import check_resolved
from rlsys.errors import ConfigError, RlsysError
from rlsys.judging.backend import Failure, Reply, Request, judge_identity
from rlsys.judging.endpoint import openai_replies
from rlsys.judging.endpoint.openai_transport import Transport, Unreadable
from rlsys.judging.endpoint.outage import OutageWatch
from rlsys.judging.endpoint.retries import Backoff, Fault, LoopThread, plain, read_token, retry_after
from rlsys.judging.endpoint.spending import Budget, Pace

TOP = 20
"""The most alternatives per token that the API gives."""
PROBE = Request(({"role": "user", "content": "Hi"},), max_tokens=1)
"""Asked of the model itself: a list of models may be answered by a gateway whose model is gone, and some servers have
none."""
POLL = 5.0
"""Seconds between looks at whether the thread still lives."""
AGAIN = (408, 409, 429)
"""Statuses beside 5xx that may pass."""
CLOSED = (401, 402, 403, 404)
"""Statuses of an endpoint as a whole more often than of one request: a key that does not count, no money, no such
model."""


@dataclass(frozen=True)
class Closed(Fault):
    """A status of `CLOSED`: the next attempt would meet it again, and a probe tells whose it is."""


LASTING = (Unreadable, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.DecodingError)
"""Errors of a connection that the next attempt would meet again."""


class OpenAIBackend:
    """A `backend.Backend`. Labels are read from the log-probs of the first tokens of greedy replies: servers give those
    of the model's own distribution (vLLM takes them before any temperature), and the greedy token is the one whose
    successor is worth knowing. Environment proxies, .netrc and the client library's own variables are not used;
    redirects are not followed."""

    def __init__(
        self,
        config: EndpointConfig,
        model: str,
        spent: float = 0.0,
        template_variables: Mapping[str, bool | int | str] | None = None,
    ) -> None:
        """`spent` counts towards `max_cost`; `template_variables` are for the model's chat template, where the server
        knows how to give them to it. Raises ConfigError: the variable `key_env` is not set, or `max_cost` has no
        prices."""
        check_resolved(config.base_url, "judge.endpoint.base_url")
        self._config, self._model, self._template_variables = config, model, dict(template_variables or {})
        self._token = read_token(config.key_env, "judge.endpoint.key_env") if config.key_env is not None else None
        self._budget = Budget(config, spent)
        self._pace = Pace(config.requests_per_minute)
        self._places = asyncio.Semaphore(config.concurrency)
        self._watch = OutageWatch(
            f"the judge {model} at {config.base_url}", self._probe, config.outage_limit, config.max_wait
        )
        self._served = False
        """Whether there was ever a good reply."""
        self._jitter = random.Random()  # its own: seeded draws elsewhere must not depend on a service's mood
        self._client = openai.AsyncOpenAI(
            api_key="none",  # `Transport` has it
            base_url=config.base_url,
            max_retries=0,
            timeout=None,  # `_send` limits all of an attempt together
            http_client=httpx2.AsyncClient(
                transport=Transport(self._token, config.max_bytes),
                trust_env=False,
                follow_redirects=False,
                timeout=None,
            ),
        )
        self._thread = LoopThread("openai-judge")

    @property
    def identity(self) -> str:
        return judge_identity(f"{self._config.base_url} {self._model}", self._template_variables)

    @property
    def away_since(self) -> float | None:
        """Since when the endpoint is away, by `time.monotonic`; None while it is there."""
        return self._watch.away_since

    @property
    def away_reason(self) -> str:
        """Why it is thought to be away."""
        hint = "" if self._served else "; it has never answered yet: look at judge.endpoint.base_url"
        return f"{self._watch.away_reason}{hint}"

    @property
    def spent(self) -> float:
        """Of money, `spent` of the start included."""
        return self._budget.spent

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """See `Backend.ask`. May be called from several threads. Raises JudgeOutage; RlsysError where `max_cost` would
        be exceeded; ConfigError where an endpoint that never served refuses key, model or address."""
        call = self._thread.start(lambda: self._all(requests))
        if call is None:
            raise RlsysError(f"the judge {self._model}: its connection was closed")
        try:
            while not call.done():
                try:
                    return call.result(POLL)
                except TimeoutError:
                    if not self._thread.alive:
                        raise RlsysError(f"the judge {self._model}: its thread has ended") from None
            return call.result()
        except concurrent.futures.CancelledError:
            raise RlsysError(f"the judge {self._model}: its connection was closed") from None
        finally:
            call.cancel()

    def close(self) -> None:
        """End all connections. Calls of `ask` under way end with an error."""
        self._thread.close(self._client.close)

    async def _all(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        calls = [asyncio.create_task(self._answer(request)) for request in requests]
        try:
            return await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _answer(self, request: Request) -> Reply | Failure:
        async with self._places:
            while True:  # after each outage anew
                outages = self._watch.outages
                result = await self._tries(request)
                if not isinstance(result, Fault):
                    self._watch.served()
                    await self._watch.here()
                    return result
                if self._watch.outages == outages and not await self._watch.was_away():
                    return Failure(
                        result.reason
                        if isinstance(result, Closed)
                        else f"{result.reason} (attempt {self._config.retries + 1})"
                    )

    async def _tries(self, request: Request) -> Reply | Failure | Fault:
        backoff = Backoff(self._config.max_wait, self._jitter)
        for _ in range(self._config.retries):
            result = await self._attempt(request)
            if not isinstance(result, Fault) or isinstance(result, Closed):
                return result
            await asyncio.sleep(backoff.after(result))
        return await self._attempt(request)

    async def _attempt(self, request: Request) -> Reply | Failure | Fault:
        async with self._budget.reserved(self._most(request)):
            while True:
                await self._watch.here()
                await self._pace.turn()
                if self._watch.away_since is None:
                    return await self._send(request)

    async def _probe(self) -> Fault | None:
        await self._pace.turn()
        result = await self._send(PROBE)
        if isinstance(result, Closed) and not self._served:  # waiting would not mend it
            raise ConfigError(
                f"judge.endpoint: {self._config.base_url} refuses whatever it is asked: {result.reason}; look at "
                "base_url, "
                f"judge.model={self._model}, and the key in the variable that key_env names "
                f"({self._config.key_env or 'none'})"
            )
        return result if isinstance(result, Fault) else None

    async def _send(self, request: Request) -> Reply | Failure | Fault:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._config.timeout):
                response = await self._client.chat.completions.with_raw_response.create(**self._arguments(request))
        except TimeoutError:
            return Fault(f"no whole reply within {self._config.timeout:g} s")
        except UnicodeEncodeError:
            return Failure("the request holds half a surrogate pair, which UTF-8 can't carry")
        except openai.APIStatusError as error:
            return self._refused(error)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            reason = self._plain(
                f"{type(cause).__name__}: {cause}" if not isinstance(cause, Unreadable) else str(cause)
            )
            return Failure(reason) if isinstance(cause, LASTING) else Fault(reason)
        return self._received(response.content, request, time.monotonic() - start)

    def _refused(self, error: openai.APIStatusError) -> Failure | Fault:
        status = error.status_code
        if status in AGAIN or status >= 500:
            return Fault(self._plain(f"HTTP {status}"), retry_after(error.response.headers))
        if status in CLOSED:
            return Closed(self._plain(f"HTTP {status}: {error.response.text}"), retry_after(error.response.headers))
        if 300 <= status < 400:
            return Failure(f"HTTP {status}: redirects are not followed; give the final base_url")
        return Failure(self._plain(f"HTTP {status}: {error.response.text}"))

    def _received(self, body: bytes, request: Request, seconds: float) -> Reply | Failure:
        reading = openai_replies.read(body, request)
        usage = reading.usage
        cost = self._budget.cost(usage.prompt_tokens, usage.completion_tokens) if usage else self._most(request)
        self._budget.spent += cost
        if isinstance(reading.reply, Failure):
            return Failure(self._plain(reading.reply.reason))
        self._served = True
        return replace(reading.reply, seconds=seconds, cost=cost if usage else 0.0)

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": self._model, "messages": [dict(message) for message in request.messages]}
        if self._template_variables:
            arguments["extra_body"] = {"chat_template_kwargs": self._template_variables}
        if request.labels:
            tokens = openai_replies.depth(request.labels)
            return arguments | {"max_tokens": tokens, "temperature": 0.0, "logprobs": True, "top_logprobs": TOP}
        arguments |= {"max_tokens": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        if request.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        return arguments

    def _most(self, request: Request) -> float:
        return self._budget.bound(
            request, openai_replies.depth(request.labels) if request.labels else request.max_tokens
        )

    def _plain(self, text: str) -> str:
        return plain(text, self._token)
