"""The score that a service of yours gives, asked over HTTP. Whatever goes wrong there is an abstention with its
reason."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import random

import httpx
from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from rlsys.config.base import Model
from rlsys.config.url import Url, check_resolved
from rlsys.judging.endpoint.retries import CLOSING_TIME, Backoff, Fault, LoopThread, plain, read_token, retry_after
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory


class Config(Model):
    url: Url
    """Where samples are posted (http or https, without a password in it). Redirects are refused."""
    timeout: PositiveFloat = 30.0
    """Seconds for one attempt from connecting to the last byte."""
    retries: NonNegativeInt = 3
    """Attempts after the first, on connection errors, timeouts and the statuses 429 and 5xx."""
    max_wait: NonNegativeFloat = 30.0
    """Longest pause before a retry in seconds, also when the service's Retry-After asks for more."""
    max_bytes: PositiveInt = 1_000_000
    """Largest answer; reading stops there."""
    key_env: str | None = None
    """Name of the environment variable that holds the service's bearer token."""


class Scores(BaseModel):
    """What the service says: a score, or why there is none. Other keys are its own business."""

    model_config = ConfigDict(strict=True)

    score: FiniteFloat | None = None
    parts: dict[str, FiniteFloat] = {}
    abstain: str | None = None


class Reward:
    """Posts {"prompt", "response", "answer", "fields", "sample_id"} as JSON. The answer is {"score": number}, if you
    like with "parts": {name: number}, or {"abstain": "reason"}.

    Attempts run on one event loop in a thread of its own: cancelling is what bounds a whole attempt, since a time limit
    per read lets a service that sends a byte now and then go on for ever. Environment proxies and .netrc are not used.
    """

    def __init__(self, config: Config) -> None:
        """Raises ConfigError when the variable `key_env` is not set, or holds what no header can carry, and when the
        host stands for an address that may not be asked."""
        check_resolved(config.url, "reward 'http': args.url")
        self._config = config
        self._token = read_token(config.key_env, "reward 'http': args.key_env") if config.key_env is not None else None
        self._jitter = random.Random()  # its own: seeded draws elsewhere must not depend on a service's mood
        self._client = httpx.AsyncClient(
            headers={"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
            | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
            timeout=None,  # `_attempt` limits all of it together
            follow_redirects=False,
            trust_env=False,
        )
        self._thread = LoopThread("http-reward")

    def score(self, prompt: Prompt, trajectory: Trajectory) -> RewardResult:
        """May be called from several threads."""
        body = json.dumps(
            {
                "prompt": prompt.text,
                "response": trajectory.text,
                "answer": prompt.answer,
                "fields": prompt.fields,
                "sample_id": trajectory.sample_id,
            }
        ).encode()
        call = self._thread.start(lambda: self._ask(body))
        if call is None:
            return Abstention("the connection was closed")
        limit = (self._config.retries + 1) * (
            self._config.timeout + CLOSING_TIME
        ) + self._config.retries * self._config.max_wait
        try:
            return call.result(limit)
        except concurrent.futures.CancelledError:
            return Abstention("the connection was closed")
        except TimeoutError:
            call.cancel()
            return Abstention(f"not done within {limit:g} s")

    def close(self) -> None:
        """End all connections. Samples in work become abstentions."""
        self._thread.close(self._client.aclose)

    async def _ask(self, body: bytes) -> RewardResult:
        backoff = Backoff(self._config.max_wait, self._jitter)
        for _ in range(self._config.retries):
            result = await self._attempt(body)
            if not isinstance(result, Fault):
                return result
            await asyncio.sleep(backoff.after(result))
        last = await self._attempt(body)
        return (
            self._abstention(f"{last.reason} (attempt {self._config.retries + 1})") if isinstance(last, Fault) else last
        )

    async def _attempt(self, body: bytes) -> RewardResult | Fault:
        try:
            async with (
                asyncio.timeout(self._config.timeout),
                self._client.stream("POST", self._config.url, content=body) as response,
            ):
                return await self._read(response)
        except TimeoutError:
            return Fault(f"no whole answer within {self._config.timeout:g} s")
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            return Fault(f"{type(error).__name__}: {error}")
        except httpx.HTTPError as error:
            return self._abstention(f"{type(error).__name__}: {error}")

    async def _read(self, response: httpx.Response) -> RewardResult | Fault:
        status = response.status_code
        if status == 429 or response.is_server_error:
            return Fault(f"HTTP {status}", retry_after(response.headers))
        if 300 <= status < 400:
            return Abstention(f"HTTP {status}: redirects are not followed; give the final url")
        if not response.is_success:
            return Abstention(f"HTTP {status}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() != "identity":
            return self._abstention(f"the answer is encoded ({encoding}), and only plain ones are read")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._config.max_bytes:
                return Abstention(f"the answer is larger than {self._config.max_bytes} bytes")
        return self._result(bytes(body))

    def _result(self, body: bytes) -> RewardResult:
        try:
            answer = Scores.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            return self._abstention(f"bad answer: {place}: {first['msg']}")
        if answer.abstain is not None:
            return self._abstention(answer.abstain or "the service gave no reason")
        if answer.score is None:
            return Abstention("bad answer: neither score nor abstain")
        return Score(answer.score, {plain(name, self._token): value for name, value in answer.parts.items()})

    def _abstention(self, reason: str) -> Abstention:
        return Abstention(plain(reason, self._token))
