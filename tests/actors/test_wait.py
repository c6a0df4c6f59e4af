"""A wait ends with the answer, or with the root cause in one line."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayActorError

from actors.wait import fetch
from rlsys.errors import ActorError, ConfigError, WaitTimeout

pytestmark = pytest.mark.engine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import this file


class Patient:
    def __init__(self, fails: bool = False) -> None:
        if fails:
            raise ValueError("no such model\nsecond line")

    def answer(self, value: int) -> int:
        return value

    def chain(self) -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("the sum failed\nlong explanation") from error

    def refuse(self) -> None:
        raise ConfigError("policy.ranks: too many")

    def ask(self, other: Any) -> Any:
        return fetch(other.chain.remote(), "the other", 20.0)

    def hang(self) -> None:
        time.sleep(600)

    def die(self) -> None:
        os._exit(3)

    def complain_of(self, other: Any) -> None:
        """What a rank does whose peer died in the middle of a collective."""
        try:
            ray.get(other.die.remote(), timeout=20)
        except RayActorError:
            raise RuntimeError("connection closed by peer") from None

    def impatient(self, other: Any) -> None:
        ray.get(other.hang.remote(), timeout=0.2)


@pytest.fixture
def make(ray_session: None) -> Any:
    return ray.remote(Patient).options(num_cpus=0, max_concurrency=2).remote


def test_answers_come_in_order(make: Any) -> None:
    actor = make()
    assert fetch(actor.answer.remote(1), "it", 30.0) == 1
    assert fetch([actor.answer.remote(2), actor.answer.remote(3)], "them", 30.0) == [2, 3]


def test_errors_are_one_line_with_the_cause_first(make: Any) -> None:
    actor = make()
    with pytest.raises(ActorError, match=r"^RuntimeError: the sum failed \(while waiting for a sum\)$"):
        fetch(actor.chain.remote(), "a sum", 30.0)
    with pytest.raises(ConfigError, match=r"^policy\.ranks: too many$"):
        fetch([actor.answer.remote(1), actor.refuse.remote()], "it", 30.0)
    with pytest.raises(ActorError, match=r"^RuntimeError: the sum failed \(while waiting for the other\)$"):
        fetch(make().ask.remote(actor), "it", 30.0)


def test_a_hanging_actor_is_given_up_at_the_limit(make: Any) -> None:
    actor = make()
    fetch(actor.answer.remote(1), "the start", 30.0)
    started = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"^waited 0\.5 s for a nap$"):
        fetch(actor.hang.remote(), "a nap", 0.5)
    assert time.monotonic() - started < 5
    pending = actor.hang.remote()
    ray.kill(actor)
    with pytest.raises(ActorError, match=r"^actor Patient died: .*ray\.kill"):
        fetch(pending, "it", 30.0)


def test_a_timeout_inside_an_actor_is_not_the_waits_own(make: Any) -> None:
    victim = make()
    with pytest.raises(ActorError, match=r"^GetTimeoutError: "):
        fetch(make().impatient.remote(victim), "it", 30.0)
    ray.kill(victim)


def test_a_constructor_that_fails_is_told_with_its_error(make: Any) -> None:
    with pytest.raises(ActorError, match=r"could not be made: ValueError: no such model \("):
        fetch(make(True).answer.remote(1), "it", 30.0)


def test_a_death_comes_before_what_follows_from_it(make: Any) -> None:
    victim = make()
    fetch(victim.answer.remote(1), "the start", 30.0)
    refs = [make().complain_of.remote(victim), victim.hang.remote()]
    with pytest.raises(ActorError, match=r"^actor Patient died: ") as caught:
        fetch(refs, "both ranks", 30.0)
    assert "\n" not in str(caught.value)
