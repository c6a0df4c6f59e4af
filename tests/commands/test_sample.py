"""Which files MODEL|RUN means, and samples and chats over a sampler that says what it is told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.scripted_sampler import Scripted

from rlsys.commands import options
from rlsys.commands.chat import chat
from rlsys.commands.named_models import files, model_path
from rlsys.commands.sample import prepared, sample
from rlsys.commands.sampler import Sampler
from rlsys.config.experiment import Experiment
from rlsys.config.sampling import Sampling
from rlsys.errors import ConfigError, RunError
from rlsys.playground.models import build
from rlsys.roles import Roles, SpawnRequest
from rlsys.samples import Group, Prompt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("0.5m", tmp_path_factory.mktemp("made") / "model", seed=1)


@pytest.fixture
def here(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs: `done` and `measured`, `begun`, and the recipes `two` and `half` with stages."""
    monkeypatch.chdir(tmp_path)
    for name, method in (("done", "sft"), ("measured", "evaluate"), ("begun", "sft")):
        run(tmp_path / name, method, made if name == "done" else None, ended=name != "begun")
    for name, ended in (("two", True), ("half", False)):
        folder = tmp_path / name
        run(folder / "first", "sft", made, True)
        run(folder / "judge", "reward_model", made, True, architecture="Qwen3ForSequenceClassification")
        stages = "".join(f"  - {{name: {stage}, config: {stage}.yaml}}\n" for stage in ("first", "judge", "last"))
        (folder / "recipe.yaml").write_text(f"name: {name}\nstages:\n{stages}")
        if ended:
            run(folder / "last", "evaluate", None, True)
            (folder / "summary.json").write_text("{}")
    return tmp_path


def run(folder: Path, method: str, model: Path | None, ended: bool, architecture: str | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: x\nmethod: {{name: {method}}}\n")
    if model is not None:
        shutil.copytree(model, folder / "final")
        if architecture is not None:
            config = json.loads((folder / "final" / "config.json").read_text())
            (folder / "final" / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
    if ended:
        (folder / "summary.json").write_text("{}")


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("done", "done/final"),
        ("done/final", "done/final"),
        ("two", "two/first/final"),
        ("half/first", "half/first/final"),
        ("playground:0.5m", "playground:0.5m"),
        ("owner/name", "owner/name"),
    ],
)
def test_a_run_stands_for_its_final_model(here: Path, typed: str, path: str):
    """A recipe for that of its last stage that trained a language model."""
    assert model_path(typed).removeprefix(f"{here}/") == path


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("begun", "begun: has no final model yet; go on with the run by `rlsys resume begun`"),
        ("measured", "measured: a run of evaluate, which leaves no model; give one that trains"),
        (
            "half",
            "half: the recipe is not finished; go on with it by `rlsys resume half`, or name a stage that is: "
            "half/first",
        ),
        ("two/frist", "two/frist: no such run or model (looked in HERE); did you mean first?"),
        ("nowhere/a/b", "nowhere/a/b: no such run or model (looked in HERE)"),
        (".", ".: neither a model's folder (no config.json) nor a run's (no config.yaml, recipe.yaml)"),
    ],
)
def test_what_has_no_model_is_one_line(here: Path, typed: str, message: str):
    with pytest.raises((RunError, ConfigError)) as error:
        model_path(typed)
    assert str(error.value) == message.replace("HERE", str(here))


def test_a_reward_model_writes_no_text(here: Path):
    with pytest.raises(ConfigError, match="two/judge: a reward model"):
        files("two/judge", model_path("two/judge"), here)


@dataclass
class Heard:
    """Remembers what it was shown; engines finish in any order."""

    scripted: Scripted
    shown: list[str]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, tag: str) -> Iterator[Group]:
        self.shown += [prompt.text for prompt in prompts]
        yield from reversed(list(self.scripted.generate(prompts, sampling, tag)))


class Spawned:
    """Each start gives the next of some samplers, and remembers what it was asked for."""

    def __init__(self, *samplers: Scripted) -> None:
        self.samplers = list(samplers)
        self.experiments: list[Experiment] = []
        self.shown: list[str] = []

    @contextmanager
    def __call__(self, experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        assert request.needs == {"rollout"}
        self.experiments.append(experiment)
        yield Roles(rollout=Heard(self.samplers.pop(0), self.shown))


def test_models_answer_the_same_prompts_side_by_side(here: Path, capsys: pytest.CaptureFixture[str]):
    spawn = Spawned(Scripted(("a1", "a2"), ("b1", "b2")), Scripted(("c1", "c\x1b[2J"), ("d1", "d2")))
    models, prompts = ["done", "playground:0.5m"], ["one", "two"]
    asked = prepared(models, prompts, 2, options.sampling(0.5, 30, 7, ["rollout.threads=2"]), system="be [brief]")
    found = sample(asked, prompts, 2, spawn)
    rows = [json.loads(row) for answered in found for row in answered.rows()]
    assert [(row["model"], row["prompt"], row["sample"], row["response"]) for row in rows] == [
        ("done", "one", 0, "a1"),
        ("done", "one", 1, "a2"),
        ("playground:0.5m", "one", 0, "c1"),
        ("playground:0.5m", "one", 1, "c\x1b[2J"),
        ("done", "two", 0, "b1"),
        ("done", "two", 1, "b2"),
        ("playground:0.5m", "two", 0, "d1"),
        ("playground:0.5m", "two", 1, "d2"),
    ]
    assert spawn.shown == 2 * [f"<|bos|><|system|>be [brief]<|user|>{text}<|assistant|>" for text in prompts]
    for experiment in spawn.experiments:
        assert (experiment.sampling.temperature, experiment.sampling.max_tokens, experiment.seed) == (0.5, 30, 7)
        assert (experiment.rollout.threads, experiment.rollout.max_model_len) == (2, 4096)
        assert experiment.model.dtype == "float32", "that of the model's files"
    found[0].show()
    shown = [re.findall(r"[\w:.\\\[]+", line) for line in capsys.readouterr().out.splitlines()]
    assert [row for row in shown if row] == [
        ["prompt:"],
        ["one"],
        ["done", "playground:0.5m"],
        ["a1", "c1"],
        ["a2", "c\\x1b[2J"],
    ]


@pytest.mark.parametrize(
    ("models", "prompts", "n", "settings", "message"),
    [
        (["done"], [], 1, {}, "which prompt"),
        (["done", "done"], ["?"], 1, {}, "done: given twice"),
        (["done"], ["?"], 2, {"temperature": 0.0}, "--n 2: at temperature 0 all samples"),
        (
            ["done"],
            ["x" * 97],
            1,
            {"max_tokens": 4000},
            "done: the prompt has 100 tokens and the response may have 4000",
        ),
        (["done"], ["?"], 1, {"typed": ["rollout.thread=2"]}, "--set 'rollout.thread=2': rollout.thread: unknown key"),
        (["done"], ["?"], 1, {"temperature": -1.0}, "--temperature -1.0: sampling.temperature: "),
    ],
)
def test_mistakes_cost_no_start(
    here: Path, models: list[str], prompts: list[str], n: int, settings: dict, message: str
):
    given = {"temperature": None, "max_tokens": None, "seed": None, "typed": ()} | settings
    with pytest.raises(ConfigError) as error:
        prepared(models, prompts, n, options.sampling(**given))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_chat_remembers_what_was_said(here: Path):
    lines = ["Hi", "", "And?", "/new", "x" * 4000, "Hi", "/quit", "not read"]
    spawn = Spawned(Scripted(("Hello\x07",)))
    said, noted = [], []
    sampler = Sampler.prepare("done", model_path("done"), options.sampling(0, 512, None, ()))
    chat(sampler, lines, spawn, said.append, noted.append)
    assert said == ["Hello\\x07"] * 3
    assert spawn.shown == [
        "<|bos|><|user|>Hi<|assistant|>",
        "<|bos|><|user|>Hi<|assistant|>Hello\x07<|eos|><|user|>And?<|assistant|>",
        "<|bos|><|user|>Hi<|assistant|>",
    ]
    assert noted[2].startswith("done: the prompt has 4003 tokens and the response may have 512, of 4096 in all")


def test_without_the_template_a_chat_goes_on_with_each_text(here: Path):
    spawn = Spawned(Scripted((" time",)))
    said = []
    sampler = Sampler.prepare("done", model_path("done"), options.sampling(0, 5, None, ()), plain=True)
    chat(sampler, ["Once upon a", "Once upon another "], spawn, said.append, lambda _: None)
    assert (said, spawn.shown) == ([" time"] * 2, ["Once upon a", "Once upon another "])
