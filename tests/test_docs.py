"""What the docs say is run: files that they show are written, and the YAML beside them is validated and used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user's own, with the files that docs/extending.md shows."""
    folder = tmp_path_factory.mktemp("user")
    for _, name, text in blocks("docs/extending.md"):
        if name:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def rlsys(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "rlsys"), *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("override", ["rewards=[{name: my.rewards.short}]", "algorithm={name: my.reinforce, prompts_per_step: 32}"])
def test_what_extending_shows_is_valid(user_folder: Path, override: str):
    done = rlsys(user_folder, "validate", str(ROOT / "configs/quickstart_grpo.yaml"), override)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK  quickstart-grpo")


def test_the_shown_algorithm_learns_on_fakes(user_folder: Path, monkeypatch: pytest.MonkeyPatch):
    import torch
    from fakes import SoftmaxPolicy, make_roles, prompt

    from rlsys.algorithm import Step
    from rlsys.config.models import SamplingConfig
    from rlsys.data.stream import Stream
    from rlsys.registry import resolve

    monkeypatch.chdir(user_folder)
    config = resolve("rlsys.algorithms", "my.reinforce", "Config")(name="my.reinforce", prompts_per_step=32)
    algorithm = resolve("rlsys.algorithms", "my.reinforce", "Algorithm")(config, SamplingConfig(max_tokens=4), 0)
    roles = make_roles(learning_rate=2.0)
    assert roles.weight_sync is not None
    assert isinstance(roles.policy, SoftmaxPolicy)
    stream = Stream([prompt(f"p{i}", "3") for i in range(32)], seed=0, shuffle=True)
    for number in range(1, 41):
        roles.weight_sync.sync(number)
        step = Step(number, number, 0)
        algorithm.learn(roles, algorithm.collect(roles, stream, step), step)
    assert torch.softmax(roles.policy.logits, 0)[3] > 0.9


@pytest.mark.parametrize("page", ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))])
def test_pages_name_only_what_exists(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), f"{page} links to {link}, which is not there"
    for command in re.findall(r"make ([a-z][\w-]*)", text):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), f"no `make {command}`"
