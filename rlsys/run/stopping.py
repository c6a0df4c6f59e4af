"""SIGTERM, with which schedulers end jobs: the step is finished, a checkpoint committed, and the run ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopping:
    """Whether the run was asked to end. In the main thread, `listening` lets SIGTERM ask."""

    requested = False

    @contextmanager
    def listening(self, grace: float) -> Iterator[None]:
        """The first SIGTERM only asks; after `grace` seconds, or at a second one, whatever the run is doing is
        interrupted as by ctrl-C."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(*_: object) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, grace)

        def end(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, ask), signal.signal(signal.SIGALRM, end)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in zip((signal.SIGTERM, signal.SIGALRM), before, strict=True):
                signal.signal(number, handler)
