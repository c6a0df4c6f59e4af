"""What stands between collect and learn."""

from __future__ import annotations

from collections import deque

from rlsys.methods.base import Experience


class ExperienceQueue:
    """`max_staleness` bounds how many policy versions a batch may lag behind the weights that it trains; at 0 it holds
    one batch, collected with the very weights that learn from it."""

    def __init__(self, max_staleness: int) -> None:
        self.max_staleness = max_staleness
        self.waiting: deque[Experience] = deque()

    @property
    def full(self) -> bool:
        return len(self.waiting) > self.max_staleness

    def put(self, experience: Experience) -> None:
        assert not self.full, "collect ran further ahead than max_staleness allows"
        self.waiting.append(experience)

    def take(self, version: int) -> Experience:
        experience = self.waiting.popleft()
        lag = version - experience.version
        assert 0 <= lag <= self.max_staleness, (
            f"a batch of policy version {experience.version} reached version {version}"
        )
        return experience
