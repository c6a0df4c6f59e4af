"""Ends a local Ray cluster when its driver is gone, however it went; run as a process of its own, by path.

Ray's own clean-up after a killed driver asks politely and can take longer than anyone waits on a busy machine. The
guard's standard input is a pipe from the driver: its end means that the driver is gone.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress

import psutil

PERIOD = 2.0
"""Seconds between looks at what the driver has started: once it is dead, its children no longer tell whose they
were."""
GRACE = 3.0
"""Seconds for Ray to end its processes itself."""


def start() -> subprocess.Popen[bytes]:
    """Guard this process. Keep the result: the guard acts when its pipe is closed. Keyboard interrupts do not reach
    it."""
    return subprocess.Popen([sys.executable, __file__, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True)


def watch(driver: psutil.Process) -> None:
    started: set[psutil.Process] = set()
    while True:
        with suppress(psutil.NoSuchProcess):
            started.update(driver.children(recursive=True))
        if select.select([sys.stdin], [], [], PERIOD)[0]:
            break
    started.discard(psutil.Process())
    _, left = psutil.wait_procs(list(started), timeout=GRACE)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    watch(psutil.Process(int(sys.argv[1])))
