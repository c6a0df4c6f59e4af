from pathlib import Path

import pytest

from rlsys.check.load import load
from rlsys.config.document import save
from rlsys.errors import ConfigError

CONFIG = """\
name: tiny
method:
  name: grpo
  group_size: 4
model:
  path: playground:0.5m
data:
  train:
    path: playground:sort_digits
rewards:
  - name: exact_match
  - {name: format, weight: 0.5, args: {regex: "[0-9]+"}}
loop:
  steps: 3
cluster: {cpus: 8}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = Path("tiny.yaml")
    file.write_text(CONFIG)
    return file


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(path, overrides)
    return str(error.value)


def test_the_method_is_the_config_of_its_file(config: Path):
    from rlsys.methods import grpo

    method = load(config).method
    assert isinstance(method, grpo.Config)
    assert (method.group_size, method.clip_low) == (4, 0.2)


def test_overrides_reach_every_kind_of_place(config: Path):
    experiment = load(
        config,
        [
            "policy.ranks=2",
            "policy.learning_rate=1e-6",
            "policy.betas=[0.8, 0.9]",
            "rewards.1.weight=2",
            "rewards.1.args.regex=a=b",
            "model.adapter={kind: lora, rank: 4}",
            "data.eval={path: 'playground:add', split: test}",
            "method.clip_high=0.28",
            "logging.wandb=off",
            "rollout.max_model_len=null",
            "output=elsewhere/runs",
        ],
    )
    assert (experiment.policy.ranks, experiment.policy.learning_rate, experiment.policy.betas) == (2, 1e-6, (0.8, 0.9))
    assert (experiment.rewards[1].weight, experiment.rewards[1].args) == (2.0, {"regex": "a=b"})
    assert experiment.rewards[0].weight == 1.0
    assert experiment.model.adapter is not None
    assert experiment.model.adapter.rank == 4
    assert experiment.data.eval is not None
    assert experiment.data.eval.split == "test"
    assert experiment.method.clip_high == 0.28
    assert experiment.logging.wandb == "off"
    assert experiment.output == Path("elsewhere/runs")


def test_later_overrides_win(config: Path):
    assert load(config, ["loop.steps=5", "loop={steps: 7}", "loop.keep_last=4"]).loop.steps == 7


def test_another_method_may_take_its_place_with_none_of_its_settings(config: Path):
    from rlsys.methods import sft

    experiment = load(config, ["method={name: sft, batch_size: 16}", "rewards=[]"])
    assert experiment.method == sft.Config(name="sft", batch_size=16)


OWN_METHOD = """\
from rlsys.methods.base import Facts, MethodConfig
class Config(MethodConfig):
    boldness: float = 1.0
    @property
    def facts(self):
        return Facts("prompts", frozenset({"policy", "rollout", "reward"}))
class Method: ...
"""


def test_a_method_of_ones_own(config: Path):
    Path("pack").mkdir()
    Path("pack/own_method.py").write_text(OWN_METHOD)
    assert load(config, ["method={name: pack.own_method, boldness: 2}"]).method.boldness == 2.0
    expected = (
        "command line 'method={name: pack.own_method, boldnes: 2}': method.boldnes: unknown key; did you mean boldness?"
    )
    assert message(config, "method={name: pack.own_method, boldnes: 2}") == expected
    Path("pack/no_config.py").write_text("class Config: ...\nclass Method: ...\n")
    assert message(config, "method={name: pack.no_config}") == (
        "command line 'method={name: pack.no_config}': method.name: Config of 'pack.no_config' must be a subclass of "
        "rlsys.methods.base.MethodConfig"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.adapter={kind: lora, rank: 8}", "loop.timeout=.inf", "data.train.fields={prompt: 'off'}", "name='1e5'"],
    ],
)
def test_what_is_saved_is_loaded_equal(config: Path, overrides: list[str]):
    experiment = load(config, overrides)
    save(experiment, Path("resolved.yaml"))
    assert load("resolved.yaml") == experiment


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  group_size: 4", "  cliphigh: 4", "tiny.yaml:4: method.cliphigh: unknown key; did you mean clip_high?"),
        (
            "  group_size: 4",
            "  group_size: 0",
            "tiny.yaml:4: method.group_size: wanted a whole number above 0, got 0",
        ),
        (
            "  group_size: 4",
            "  group_size: 4.0",
            "tiny.yaml:4: method.group_size: wanted a whole number above 0, got 4.0",
        ),
        (
            "  group_size: 4",
            "  clip_high: wide",
            "tiny.yaml:4: method.clip_high: wanted a number above 0, got the text 'wide'",
        ),
        (
            "  group_size: 4",
            "  kl_coef: true",
            "tiny.yaml:4: method.kl_coef: wanted a number of at least 0, got true",
        ),
        (
            "  group_size: 4",
            "  learning_rate: 1",
            "tiny.yaml:4: method.learning_rate: unknown key (known: name, prompts_per_step, ",
        ),
        (
            "  name: grpo",
            "  name: grpoo",
            "tiny.yaml:3: method.name: 'grpoo' is not a file of rlsys.methods that defines Method; did you mean grpo?",
        ),
        (
            "  name: grpo\n",
            "",
            "tiny.yaml:2: method.name: required key is missing: the name of a file in rlsys.methods (",
        ),
        ("model:\n  path:", "model:\n  pth:", "tiny.yaml:6: model.pth: unknown key; did you mean path?\n"),
        (
            "cluster:",
            "learning_rate: 1\ncluster:",
            "tiny.yaml:15: learning_rate: unknown key; did you mean policy.learning_rate or critic.",
        ),
        ("loop:\n  steps: 3\n", "", "tiny.yaml: loop: required key is missing: How long, and what happens when."),
        (
            "  steps: 3",
            "  keep_last: 3",
            "tiny.yaml:13: loop: give steps, or epochs in place of them: how long the run is",
        ),
        ("  steps: 3", "  steps:", "tiny.yaml:13: loop: give steps, or epochs in place of them: how long the run is"),
        (
            "  steps: 3",
            "  steps: 3\n  epochs: 1.5",
            "tiny.yaml:13: loop: steps is 3 and epochs is 1.5; set one of them to null",
        ),
        ("  steps: 3", "  steps: 0", "tiny.yaml:14: loop.steps: wanted a whole number above 0 or null, got 0"),
        (
            "model:\n  path: playground:0.5m",
            "model: playground:0.5m",
            "tiny.yaml:5: model: wanted a section, got the text 'playground:0.5m'",
        ),
        (
            "  - name: exact_match",
            "  - name: exact_mach",
            "tiny.yaml:11: rewards.0.name: 'exact_mach' is not a file of rlsys.rewards that defines Reward; did "
            "you mean exact_match?",
        ),
        ("weight: 0.5", "wieght: 0.5", "tiny.yaml:12: rewards.1.wieght: unknown key; did you mean weight?"),
        ("regex:", "regx:", "tiny.yaml:12: rewards.1.args.regx: unknown key; did you mean regex?"),
        (
            "name: tiny",
            "name: a b",
            "tiny.yaml:1: name: wanted text that matches ^[A-Za-z0-9._-]+$, got the text 'a b'",
        ),
        (
            "cluster:",
            "logging: {progress: liv}\ncluster:",
            "tiny.yaml:15: logging.progress: wanted one of auto, live, plain, off, got the text 'liv'; did you "
            "mean live?",
        ),
        (
            "method:",
            "stage: {name: sft}\nmethod:",
            "tiny.yaml:2: stage: is called method now: method: {name: sft, ...}",
        ),
        (
            "  name: grpo\n",
            "  nmae: grpo\n",
            "tiny.yaml:3: method.nmae: unknown key; did you mean name?\ntiny.yaml:2: method.name: required key "
            "is missing: the name of",
        ),
        (
            "method:\n  name: grpo\n  group_size: 4\n",
            "",
            "tiny.yaml: method: required key is missing: What is done: `name` is a file in rlsys/methods or a "
            "dotted path",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_line_key_and_remedy(config: Path, old: str, new: str, expected: str):
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    got = message(config)
    assert got.startswith(expected)
    assert all(line.startswith("tiny.yaml") for line in got.splitlines())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("policy.rnks=2", "command line 'policy.rnks=2': policy.rnks: unknown key; did you mean ranks?"),
        ("polcy.ranks=2", "command line 'polcy.ranks=2': polcy: unknown key; did you mean policy?"),
        (
            "policy.ranks=two",
            "command line 'policy.ranks=two': policy.ranks: wanted a whole number above 0, got the text 'two'",
        ),
        (
            "policy.ranks=true",
            "command line 'policy.ranks=true': policy.ranks: wanted a whole number above 0, got true",
        ),
        ("policy.betas=[0.9, x]", "command line 'policy.betas=[0.9, x]': policy.betas.1: wanted a number, got 'x'"),
        ("policy.ranks", "command line 'policy.ranks': wanted key=value, as in policy.ranks=2"),
        ("=2", "command line '=2': wanted key=value, as in policy.ranks=2"),
        (
            "policy=[",
            "command line 'policy=[':1:2: not valid YAML: expected the node content, but found '<stream end>'",
        ),
        (
            "rewards.2.weight=1",
            "command line 'rewards.2.weight=1': rewards is a list of 2, numbered from 0; it has no item 2",
        ),
        (
            "policy.betas.0=1",
            "command line 'policy.betas.0=1': policy.betas is not given in the file; give the whole list: "
            "policy.betas=[...]",
        ),
        ("name.x=1", "command line 'name.x=1': name is 'tiny', not a section; give the whole section: name={...}"),
        (
            "method=grpo",
            "command line 'method=grpo': method.name: required key is missing: the name of a file in rlsys.methods (",
        ),
    ],
)
def test_a_mistake_in_an_override_names_the_override(config: Path, override: str, expected: str):
    assert message(config, override).startswith(expected)


def test_a_mistake_in_a_programs_override_names_the_program(config: Path):
    with pytest.raises(ConfigError) as error:
        load(config, ["policy.rnks=2"], by="benchmarks.one")
    assert str(error.value) == "benchmarks.one 'policy.rnks=2': policy.rnks: unknown key; did you mean ranks?"


def test_each_of_several_mistakes_is_a_line(config: Path):
    """Unknown keys first, then what was just typed, then by line; and a key is named once."""
    config.write_text(CONFIG.replace("steps: 3", "steps: many").replace("group_size: 4", "group_size: 0"))
    in_file = [
        "tiny.yaml:4: method.group_size: wanted a whole number above 0, got 0",
        "tiny.yaml:14: loop.steps: wanted a whole number above 0 or null, got the text 'many'",
    ]
    assert message(config).splitlines() == in_file
    assert message(config, "seed=x", "loop.stepz=3").splitlines() == [
        "command line 'loop.stepz=3': loop.stepz: unknown key; did you mean steps?",
        "command line 'seed=x': seed: wanted a whole number, got the text 'x'",
        *in_file,
    ]


def test_a_file_in_the_place_of_the_runs_folder_is_named(config: Path):
    """Also where it is a folder above."""
    for output in ("tiny.yaml", "tiny.yaml/runs"):
        told = f"{Path.cwd() / 'tiny.yaml'} is a file, and runs need a folder; choose another"
        assert message(config, f"output={output}") == f"command line 'output={output}': output: {told}"


def test_a_mistyped_run_is_no_hub_id(config: Path):
    """But where the folder of runs is the current one, names in it are hub ids and the playground's."""
    told = f"no such folder: runs/typo (looked in {Path.cwd()})"
    assert message(config, "model.path=runs/typo") == f"command line 'model.path=runs/typo': model.path: {told}"
    for path in ("gpt2", "playground:0.5m", "owner/model"):
        assert load(config, ["output=.", f"model.path={path}"]).model.path == path


def test_the_folder_of_a_run_is_no_model_and_its_model_is_named(config: Path):
    final = Path("runs/mine/final")
    final.mkdir(parents=True)
    (final / "config.json").write_text("{}")
    told = "runs/mine is no Hugging Face model folder: it has no config.json; the model of this run is runs/mine/final"
    assert message(config, "model.path=runs/mine") == f"command line 'model.path=runs/mine': model.path: {told}"
