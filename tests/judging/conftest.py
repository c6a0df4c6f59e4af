from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from echo_endpoint import backends

from rlsys.judging import outage
from rlsys.judging.openai_backend import OpenAIBackend


@pytest.fixture
def make() -> Iterator[Callable[..., OpenAIBackend]]:
    with backends() as make:
        yield make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that went away is looked for at once."""
    monkeypatch.setattr(outage, "FIRST_WAIT", 0.05)
