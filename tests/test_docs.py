"""What the docs say is run: files that they show are written, and the YAML beside them is validated and used."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlsys.check.judge_eval import load_judge_eval
from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.cli import app
from rlsys.config.kinds import kind_of
from rlsys.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
ON_POLICY = (
    "method={name: on_policy_distill, scored: false, prompts_per_step: 32}",
    "data.eval=null",
    "loop.eval_every=0",
    "sampling={max_tokens: 512}",
)
ON_TEXTS = ("method={name: sft, batch_size: 16, max_tokens: 1024}", "teacher=null")
"""What docs/distillation.md says beside its config: at the student's own samples, and on texts."""
TEST = r"`(tests/[\w/]+\.py)::(\w+)`"
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
        [str(Path(sys.executable).parent / "rlsys"), *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "override", ["rewards=[{name: my.rewards.short}]", "method={name: my.reinforce, prompts_per_step: 32}"]
)
def test_what_extending_shows_is_valid(user_folder: Path, override: str):
    done = rlsys(user_folder, "validate", str(ROOT / "configs/quickstart.yaml"), f"grpo.{override}")
    assert done.returncode == 0, done.stderr
    assert f"grpo: {'my.reinforce' if 'reinforce' in override else 'grpo'} on" in done.stdout


def test_the_shown_method_learns_on_fakes(user_folder: Path, monkeypatch: pytest.MonkeyPatch):
    import torch
    from support.fakes import SoftmaxPolicy, make_roles, prompt

    from rlsys.config.sampling import SamplingConfig
    from rlsys.data.stream import Stream
    from rlsys.methods.base import Step
    from rlsys.registry import resolve

    monkeypatch.chdir(user_folder)
    config = resolve("rlsys.methods", "my.reinforce", "Config")(name="my.reinforce", prompts_per_step=32)
    method = resolve("rlsys.methods", "my.reinforce", "Method")(config, SamplingConfig(max_tokens=4), 0)
    roles = make_roles(learning_rate=2.0)
    assert roles.weight_sync is not None
    assert isinstance(roles.policy, SoftmaxPolicy)
    stream = Stream([prompt(f"p{i}", "3") for i in range(32)], seed=0, shuffle=True)
    for number in range(1, 41):
        roles.weight_sync.sync(number)
        step = Step(number, number, 0)
        method.learn(roles, method.collect(roles, stream, step), step)
    assert torch.softmax(roles.policy.logits, 0)[3] > 0.9


KTO = "method={name: kto, beta: 0.1, batch_size: 16, max_tokens: 1024}"
"""What docs/preference.md says beside its config."""
ANSWERED, PAIR = {"prompt": "1+1", "answer": "2"}, {"prompt": "hi", "chosen": "Hello!", "rejected": "What?"}
SOLVED = {"prompt": "1+1", "answer": "1+1=2 #### 2"}
HELD_OUT = {"prompt": "2+2", "answer": "2+2=4 #### 4"}
HELD_OUT_PAIR = {**PAIR, "prompt": "bye"}
ENOUGH = 2000
"""Rows, as many as a step of SPIN takes."""
SEED = {
    "instruction": "Give the plural.",
    "instances": [{"input": "mouse", "output": "mice"}],
    "is_classification": False,
}
PROMPT = {"prompt": "hi"}
LABELLED = {"prompt": "hi", "completion": "Hello!", "label": True}
(SHOWN,) = re.findall(
    r"^\$ rlsys train (configs/distill/texts.*\\\n.*)",
    (ROOT / "docs/distillation.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
TEXTS = shlex.split(SHOWN.replace("\\\n", " "), comments=True)
"""The command that docs/distillation.md shows for questions of one's own."""


@pytest.mark.parametrize(
    ("page", "run", "data"),
    [
        ("docs/preference.md", ["own_dpo.yaml"], {"pairs": PAIR, "held_out": HELD_OUT_PAIR}),
        ("docs/preference.md", ["own_dpo.yaml", KTO], {"pairs": LABELLED, "held_out": {**LABELLED, "prompt": "bye"}}),
        (
            "docs/rlhf.md",
            ["own_rlhf.yaml"],
            {"pairs": PAIR, "held_out": HELD_OUT_PAIR, "demos": ANSWERED, "prompts": PROMPT},
        ),
        ("docs/judge.md", ["direct.yaml", "cluster.cpus=4"], {"prompts": PROMPT}),
        ("docs/spin.md", ["own_spin.yaml"], {"rows": ANSWERED, "held_out": HELD_OUT}),
        ("docs/algorithms.md", ["own_grpo.yaml"], {"questions": ANSWERED, "held_out": HELD_OUT}),
        ("docs/sft.md", ["own_sft.yaml"], {"rows": ANSWERED}),
        ("docs/rft.md", ["own_rft.yaml"], {"exercises": SOLVED, "held_out": HELD_OUT}),
        ("docs/self_instruct.md", ["own_self_instruct.yaml"], {"seed_tasks": SEED}),
        ("docs/distillation.md", ["own_distill.yaml"], {"rows": ANSWERED, "held_out": HELD_OUT}),
        ("docs/distillation.md", ["own_distill.yaml", *ON_POLICY], {"rows": ANSWERED}),
        ("docs/distillation.md", ["own_distill.yaml", *ON_TEXTS], {"rows": ANSWERED, "held_out": HELD_OUT}),
        ("docs/distillation.md", [str(ROOT / TEXTS[0]), *TEXTS[1:]], {"questions": ANSWERED}),
    ],
)
def test_a_page_shows_a_config_for_ones_own_data(
    page: str, run: list[str], data: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Files that it shows, and data as it says (enough for a step), are all that `rlsys validate` asks for."""
    from rlsys.commands.tried_rows import FIRST  # brings transformers

    monkeypatch.chdir(tmp_path)
    for _, name, text in blocks(page):
        if name:
            Path(name).write_text(text, encoding="utf-8")
    for name, row in data.items():
        # One prompt for all rows could not be held out from them.
        asked = f"{row['prompt']} {{}}".format if isinstance(row.get("prompt"), str) else None
        rows = (
            {**row, "id": n}
            | ({"label": n % 2 == 0} if "label" in row else {})
            | ({"prompt": asked(n)} if asked else {})
            for n in range(ENOUGH)
        )
        Path(f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    done = CliRunner().invoke(app, ["validate", *run], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    read = dict.fromkeys(re.findall(rf"(data\.\w+) (?:{FIRST} of the first|{ENOUGH} of all)", done.stdout))
    assert list(read) == ["data.train", "data.eval"][: len(data)]


def test_the_curation_page_shows_a_recipe_for_ones_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ((_, name, text),) = [block for block in blocks("docs/curation.md") if block[1]]
    Path(name).write_text(text, encoding="utf-8")
    for file, row in (("rows", ANSWERED), ("benchmark", HELD_OUT)):
        Path(f"{file}.jsonl").write_text((json.dumps(row) + "\n") * 30, encoding="utf-8")
    done = CliRunner().invoke(app, ["validate", name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "data.contamination.against.0 30 of all 30 as answered" in done.stdout


def test_the_shown_merge_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of the three folders that the page names."""
    from rlsys.playground.models import build

    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "maths", "chat")):
        build("0.5m", tmp_path / name, seed)
    ((_, name, text),) = [block for block in blocks("docs/merging.md") if block[1]]
    Path(name).write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["merge", name], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(Path("runs/both/final/merge.json").read_text())["models"][1]["layers"][0]["density"] == 0.4


def test_the_shown_router_chooses_and_the_shown_tasks_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rlsys.commands.task_matrix import Matrix
    from rlsys.serving.router import load_router

    monkeypatch.chdir(tmp_path)
    for _, name, text in blocks("docs/serving.md"):
        if name:
            Path(name).write_text(text, encoding="utf-8")
    router = load_router(Path("router.yaml"), ("sort", "chain", "letters"), "runs/demo-three-tasks/base")
    asked = ({"prompt": "4926"}, {"prompt": "3+8+5"}, {"prompt": "4926", "metadata": {"task": "letters"}}, {})
    assert [asyncio.run(router.choose(request)) for request in asked] == ["sort", "chain", "letters", "base"]
    matrix = Matrix.prepared(["playground:0.5m"], [], Path("tasks.yaml"), [], tmp_path)
    assert list(matrix.experiments["playground:0.5m"]) == ["sort", "chain", "letters"]


def test_the_shown_constitution_can_take_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the command beside it, in which nothing can be left out."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/judge.md").read_text(encoding="utf-8")
    (ours,) = [text for _, _, text in blocks("docs/judge.md") if text.startswith("name: ours")]
    Path("ours.yaml").write_text(ours, encoding="utf-8")
    (command,) = re.findall(r"rlsys train configs/constitutional/hh.yaml (.*ours.yaml.*)", page)
    recipe, overrides = ROOT / "configs/constitutional/hh.yaml", command.split()
    stages = {stage.name: stage for stage in load_recipe(recipe, overrides, this_machine=False)[1]}
    assert {name for name, stage in stages.items() if stage.judge} == {"revise", "pairs"}
    assert all(stage.judge.constitution == "ours.yaml" for stage in stages.values() if stage.judge)
    with pytest.raises(ConfigError, match=r"judge\.examples: 2, and the constitution 'ours' has 0"):
        load_recipe(recipe, [override for override in overrides if "examples" not in override], this_machine=False)


def test_every_promise_names_its_test():
    """In each row of a table; the other test below looks whether it is there."""
    rows = re.findall(
        r"^\| (?!promise |---)(.*) \|$", (ROOT / "docs/guarantees.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows
    for row in rows:
        promise, _, test = row.rpartition(" | ")
        assert promise
        assert re.fullmatch(TEST, test), f"what proves {promise!r}? {test!r} names no test"


@pytest.mark.slow
def test_make_faults_runs_what_the_page_names():
    told = subprocess.run(
        ["make", "-o", "setup", "faults", "ARGS=--collect-only -q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    named = set(re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/reliability.md").read_text(encoding="utf-8")))
    assert len(named) > 10
    assert {line.partition("[")[0] for line in told.stdout.splitlines() if "::" in line} == named


SHOWN_IN = ["README.md", "docs/*.md", "configs/**/*.yaml", "rlsys/**/*.py"]
COMMAND = re.compile(r"rlsys (?:train|validate|merge|judge-eval) (configs/[\w/]+\.yaml)((?:\\\n#?|[^\n`])*)")


def shown_commands() -> set[tuple[str, ...]]:
    """Each config with the overrides beside it; those in [brackets] are given, too."""
    found: set[tuple[str, ...]] = set()
    for page in (page for pattern in SHOWN_IN for page in ROOT.glob(pattern)):
        for config, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            words = shlex.split(re.sub(r"\\\n#?", "", rest), comments=True)
            words = [word[1:-1] if re.fullmatch(r"\[[\w.]+=.*\]", word) else word for word in words]
            found.add((config, *takewhile(lambda word: re.match(r"[\w.]+=", word), words)))
    return found


def test_every_shown_command_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (ours,) = [text for _, _, text in blocks("docs/judge.md") if text.startswith("name: ours")]
    Path("ours.yaml").write_text(ours, encoding="utf-8")
    loads = {"recipe": load_recipe, "experiment": load, "judge-eval": load_judge_eval}
    commands = shown_commands()
    assert ("configs/quickstart.yaml", "seed=1", "grpo.loop.steps=20") in commands
    for config, *overrides in commands:
        loads[kind_of(ROOT / config)](ROOT / config, overrides, this_machine=False)


PARTS = r"(?:rlsys|actors|configs|tests|benchmarks|docs|launch)/"


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))],
)
def test_pages_name_only_what_exists(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, name in re.findall(TEST, text):
        assert (ROOT / file).is_file(), f"{page} names {file}, which is not there"
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"
    for link, section in re.findall(r"\]\((?!http)([^)#]+)#?([^)]*)\)", text):
        target = (ROOT / page).parent / link
        assert target.exists(), f"{page} links to {link}, which is not there"
        headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE) if section else []
        assert not section or section in {heading.lower().replace(" ", "-") for heading in headings}, (
            f"{link} has no section {section}"
        )
    for file in re.findall(rf"(?:`|configs=| )({PARTS}[\w./]+\.(?:py|yaml))\b", text):
        assert (ROOT / file).is_file(), f"{page} names {file}, which is not there"
    for command in re.findall(r"(?:`|\$ |^)make ([a-z][\w-]*)", text, re.MULTILINE):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), (
            f"no `make {command}`"
        )
