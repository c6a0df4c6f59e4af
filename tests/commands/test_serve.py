"""What vLLM's server is told, and what is refused before it starts."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from actors.serve import Server, free_port
from rlsys.errors import ConfigError


def server(host: str = "127.0.0.1", on_gpu: bool = False, more: tuple[str, ...] = ()) -> Server:
    return Server(Path("/m"), "my model", "float32", host, 8123, on_gpu, more)


def test_the_servers_command():
    """Options of the user's come last: of two equal ones the last counts."""
    command = server(more=("--max-model-len", "99")).command()
    assert command[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    told = dict(zip(command[3::2], command[4::2], strict=False))
    assert (told["--model"], told["--served-model-name"], told["--dtype"]) == ("/m", "my model", "float32")
    assert (told["--host"], told["--port"]) == ("127.0.0.1", "8123")
    assert command[-3:] == ["--enforce-eager", "--max-model-len", "99"]
    assert "--enforce-eager" not in server(on_gpu=True).command()


def test_the_users_environment_goes_over_ours():
    given = {"VLLM_CPU_KVCACHE_SPACE": "12", "HOME": "/me"}
    made = server().environment(given)
    assert (made["VLLM_CPU_KVCACHE_SPACE"], made["HOME"], made["VLLM_CPU_OMP_THREADS_BIND"]) == ("12", "/me", "nobind")
    assert "VLLM_CPU_OMP_THREADS_BIND" not in server(on_gpu=True).environment(given)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8123"), ("0.0.0.0", "http://127.0.0.1:8123"), ("::", "http://[::1]:8123")],
)
def test_where_this_machine_reaches_it(host: str, url: str):
    assert server(host).url == url


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error:
            free_port("127.0.0.1", port)
        assert str(error.value) == (
            f"--host 127.0.0.1 --port {port}: can't listen there: Address already in use; choose another (0 is any "
            "free port)"
        )
        free = free_port("127.0.0.1", 0)
        assert free not in (0, port)
    assert free_port("127.0.0.1", free) == free
