"""What vLLM's server is told, and what is refused before it starts."""

from __future__ import annotations

import importlib
import json
import socket
import sys
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.serve import Adapters, Server, free_port
from rlsys.cli import app
from rlsys.errors import ConfigError
from rlsys.playground.models import build
from rlsys.serving.tenants import RUN_TIME, check_reach


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


def test_the_command_of_a_server_with_adapters(tmp_path: Path):
    """The router is a second name of the model."""
    adapters = Adapters({"a": tmp_path / "x=1,y"}, "auto", 16, 3, "{}")
    with_adapters = Server(Path("/m"), "my model", "float32", "127.0.0.1", 8123, False, ("--seed", "1"), adapters)
    command = with_adapters.command()
    assert command[-2:] == ["--seed", "1"]
    assert command[command.index("--served-model-name") + 1 :][:2] == ["my model", "auto"]
    told = dict(pairwise(command))
    assert (told["--max-lora-rank"], told["--max-loras"]) == ("16", "3")
    assert json.loads(told["--lora-modules"]) == {"name": "a", "path": str(tmp_path / "x=1,y")}
    assert importlib.import_module(told["--middleware"].rpartition(".")[0]).Gate
    made = with_adapters.environment({"RLSYS_GATE": "of another server", "HOME": "/me"})
    assert (made["RLSYS_GATE"], made["VLLM_ALLOW_RUNTIME_LORA_UPDATING"], made["HOME"]) == ("{}", "1", "/me")
    assert with_adapters.environment({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"})[RUN_TIME] == "0"
    assert not {"--enable-lora", "--middleware"} & {*server().command()}
    assert RUN_TIME not in server().environment({})


@pytest.mark.parametrize(
    ("host", "options", "environment", "open_to_all"),
    [
        ("127.0.0.1", (), {}, False),
        ("localhost", (), {}, False),
        ("::1", (), {}, False),
        ("0.0.0.0", (), {}, True),
        ("gpu-7", (), {}, True),
        ("::", (), {"VLLM_API_KEY": ""}, True),
        ("0.0.0.0", (), {"VLLM_API_KEY": "k"}, False),
        ("0.0.0.0", ("--api-key", "k"), {}, False),
        ("0.0.0.0", ("--api-key=k",), {}, False),
        ("0.0.0.0", (), {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"}, False),
    ],
)
def test_only_who_has_a_key_may_add_adapters_from_elsewhere(
    host: str, options: tuple[str, ...], environment: dict[str, str], open_to_all: bool
):
    expected = pytest.raises(ConfigError, match=f"--host {host}: whoever") if open_to_all else nullcontext()
    with expected:
        check_reach(host, options, environment)


def test_a_mistake_is_one_line_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text("rules: [{regex: x, adapter: a}]\n")
    build("0.5m", tmp_path / "tiny")
    for options, message in {
        ("--adapter", "a=nowhere"): "--adapter a=nowhere: no such folder: nowhere",
        ("--adapter", "tiny=x"): "--adapter tiny=x: the name 'tiny' is taken; choose another",
        ("--router", "rules.yaml"): "--router rules.yaml: there is nothing to choose from; give --adapter name=PATH",
        ("--max-rank", "600"): "--max-rank 600: vLLM serves ranks up to 512",
    }.items():
        result = CliRunner().invoke(app, ["serve", "tiny", *options])
        assert isinstance(result.exception, ConfigError)
        assert str(result.exception).startswith(message)
        assert "\n" not in str(result.exception)


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
