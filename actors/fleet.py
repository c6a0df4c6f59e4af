"""The sampling engines of a run: who lives, and who takes the place of one that died or hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray

from actors.wait import fetch
from rlsys.errors import ActorDied, ActorError, RlsysError, WaitTimeout

GONE = (ActorDied, WaitTimeout)
"""What fetching from an engine raises that died, or that does not answer in time."""


class Fleet:
    """`actors` are started engines. `make` begins to make another one for a seat; without it, or with no restart left,
    a death is an error. `stall` is the longest silence (seconds) of an engine that lives."""

    def __init__(
        self,
        actors: Sequence[Any],
        stall: float,
        start_timeout: float,
        make: Callable[[int], Any] | None = None,
        restarts: int = 0,
        told: list[str] | None = None,
    ) -> None:
        self.actors = list(actors)
        self.stall, self.start_timeout, self.make, self.restarts = stall, start_timeout, make, restarts
        self.told = told if told is not None else []
        """What was done about deaths, a line each; whoever reads them takes them out."""
        self.starting: dict[int, Any] = {}
        """Numbers of successors that are not there yet, with what says that they are."""
        self.left = restarts

    def living(self) -> list[int]:
        return [number for number in range(len(self.actors)) if number not in self.starting]

    def bury(self, number: int, actor: Any, error: RlsysError) -> None:
        """Let a successor take the seat of `actor`, unless one has it. Raises the error if there can be none."""
        if self.actors[number] is not actor:
            return
        if self.make is None or not self.left:
            tried = f"; {self.restarts} successors are used up" if self.make and self.restarts else ""
            raise type(error)(f"{error}{tried}") from error
        self.left -= 1
        ray.kill(actor)
        successor = self.make(number)
        self.actors[number], self.starting[number] = successor, successor.start.remote()
        self.told.append(f"sampling engine {number}: {error}; a successor takes its place")

    def check(self) -> bool:
        """Ask the living for a sign, and bury those that give none; says whether there were any."""
        asked = {number: (self.actors[number], self.actors[number].sign.remote()) for number in self.living()}
        found = False
        for number, (actor, sign) in asked.items():
            try:
                fetch(sign, f"a sign of life from sampling engine {number}", self.stall)
            except GONE as error:
                found = True
                self.bury(number, actor, error)
        return found

    def join(self) -> bool:
        """Wait until every successor has started; says whether there were any. They hold no weights yet."""
        found = bool(self.starting)
        while self.starting:
            number, started = next(iter(self.starting.items()))
            try:
                fetch(started, f"the successor of sampling engine {number} to start", self.start_timeout)
                del self.starting[number]
            except GONE as error:
                self.bury(number, self.actors[number], error)
            except ActorError as error:  # no fault of the run's: other actors may find the machine in another state
                raise ActorDied(f"sampling engine {number} has no successor: {error}") from error
        return found

    def adopt(self) -> None:
        """Take in the successors that have started, where they need no weights but those that they loaded."""
        for number, started in [*self.starting.items()]:
            if ray.wait([started], timeout=0)[0]:
                fetch(started, f"the successor of sampling engine {number} to start", self.start_timeout)
                del self.starting[number]
        if not self.starting:
            self.proven()

    def proven(self) -> None:
        """All hold proven weights: whatever dies from here on is a new misfortune."""
        self.left = self.restarts
