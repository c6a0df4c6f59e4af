"""A Ray cluster of one machine that `ray start` makes, for tests whose runs join it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from support.command_line import Workplace, alive, family, wait_until

PORTS: tuple[str, ...] = (
    "",
    "dashboard-",
    "ray-client-server-",
    "dashboard-agent-listen-",
    "dashboard-agent-grpc-",
    "metrics-export-",
)


@dataclass(frozen=True)
class Head:
    """The head's process, which is ours alone: `ray stop` would stop every cluster of this machine."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    """By the names of their flags."""


@contextmanager
def ray_head(workplace: Workplace, *flags: str, answers_at: str = "") -> Iterator[Head]:
    """From when the port called `answers_at` answers; it leaves no process behind."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    named = [f"--{name}port={port}" for name, port in ports.items()]
    folder = workplace.environment["RAY_TMPDIR"]
    common = ("--head", "--block", "--disable-usage-stats", f"--temp-dir={folder}/ray")
    process = workplace.start("ray", "start", *common, *named, *flags)
    processes: list[psutil.Process] = []
    try:
        wait_until(lambda: answers(ports[answers_at]) or process.poll() is not None, "the Ray head", 60, poll=0.2)
        yield Head(process, ports)
        processes = family(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    psutil.wait_procs(processes, timeout=20)
    assert alive(processes) == []


def free_ports(count: int) -> Sequence[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
