"""vLLM's own OpenAI-compatible server on this machine, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from actors.rollout import environment
from rlsys.config.actors import RolloutConfig

START_LIMIT = 180.0
"""Seconds until the server must answer."""
STOP_LIMIT = 20.0
MODEL = "judge"
"""What the served model is called."""


@contextmanager
def serve(model_folder: Path, max_model_len: int = 512) -> Iterator[str]:
    """Serve `model_folder` as `MODEL` in float32; gives the base URL (http://127.0.0.1:PORT/v1). Its process group ends
    with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = (
        f"--host 127.0.0.1 --port {port} --served-model-name {MODEL} --dtype float32 --max-model-len {max_model_len}"
    )
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(model_folder),
        *arguments.split(),
        "--enforce-eager",
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "OPENAI_"))}
    settings = environment(RolloutConfig(eager=True), on_gpu=False) | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=inherited | settings, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, url, log)
            yield f"{url}/v1"
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, log) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    log.seek(0)
    state = "still starts" if process.poll() is None else f"exited with {process.returncode}"
    raise RuntimeError(
        f"the server {state} after at most {START_LIMIT:g} s\n{log.read().decode(errors='replace')[-4000:]}"
    )


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
