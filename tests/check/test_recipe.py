"""A recipe is put together as it says, and what is wrong with it is said before its first stage starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.check.recipe import load_recipe, load_stage
from rlsys.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
RLHF = CONFIGS / "rlhf" / "demo.yaml"

RECIPE = """\
name: two
seed: 7
common:
  model: {path: "playground:0.5m", dtype: float32}
  policy:
    ranks: 2
    learning_rate: 0.003
  cluster: {cpus: 8, gpus: 0}
stages:
  - name: first
    method: {name: sft, batch_size: 16}
    data: {train: {path: "playground:sort_digits", wrong_fraction: 0.5}}
    policy: {learning_rate: 0.01}
    loop: {steps: 3}
  - name: second
    method: {name: grpo, group_size: 4}
    model: {path: "stage:first"}
    data: {train: {path: "playground:sort_digits"}}
    rewards: [{name: exact_match}]
    loop: {steps: 5}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cluster is running."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    Path("two.yaml").write_text(RECIPE)
    return Path("two.yaml")


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_recipe(path, overrides)
    return str(error.value)


def test_what_a_stage_says_is_put_over_what_all_have_in_common(recipe: Path):
    _, (first, second) = load_recipe(recipe)
    assert [(stage.name, stage.seed, stage.policy.ranks) for stage in (first, second)] == [
        ("first", 7, 2),
        ("second", 7, 2),
    ]
    assert (first.model.path, second.model.path) == ("playground:0.5m", "stage:first")
    assert (first.model.dtype, second.model.dtype) == ("float32", "float32")
    assert (first.policy.learning_rate, second.policy.learning_rate) == (0.01, 0.003)


def test_a_key_with_dots_replaces_all_that_was_said_there(recipe: Path):
    in_common = '  data: {train: {path: "playground:sort_digits", wrong_fraction: 0.5}}\n  cluster:'
    text = RECIPE.replace('    data: {train: {path: "playground:sort_digits"}}\n', "").replace("  cluster:", in_common)
    recipe.write_text(text)
    train = load_recipe(recipe)[1][1].data.train
    assert train is not None
    assert train.wrong_fraction == 0.5
    recipe.write_text(text.replace("    rewards:", '    data.train: {path: "playground:add"}\n    rewards:'))
    train = load_recipe(recipe)[1][1].data.train
    assert train is not None
    assert (train.path, train.wrong_fraction) == ("playground:add", 0.0)


def test_the_file_of_an_experiment_lies_below_common_and_the_stage(recipe: Path):
    Path("own.yaml").write_text(
        "name: own\nseed: 1\nmethod: {name: sft, batch_size: 8, max_tokens: 64}\nmodel: {path: owner/model}\n"
        'data: {train: {path: "playground:sort_digits"}}\npolicy: {ranks: 1, weight_decay: 0.5}\nloop: {steps: 9}\n'
    )
    recipe.write_text(
        RECIPE.partition("stages:")[0] + "stages:\n  - {name: one, config: own.yaml, method: {batch_size: 4}}\n"
    )
    _, (one,) = load_recipe(recipe)
    assert (one.name, one.seed, one.loop.steps) == ("one", 7, 9)
    assert (one.method.batch_size, one.method.max_tokens) == (4, 64)
    assert (one.model.path, one.policy.ranks, one.policy.weight_decay) == ("playground:0.5m", 2, 0.5)


def test_an_override_is_for_all_stages_or_one(recipe: Path):
    overrides = ["common.policy.ranks=1", "common.policy.learning_rate=0.5", "second.loop.steps=2", "seed=3"]
    _, (first, second) = load_recipe(recipe, overrides)
    assert (first.policy.ranks, second.policy.ranks) == (1, 1)
    assert (first.policy.learning_rate, second.policy.learning_rate) == (0.01, 0.5)  # the stage's own goes over common
    assert (first.loop.steps, second.loop.steps) == (3, 2)
    assert (first.seed, second.seed) == (3, 3)


def test_a_stage_may_have_a_seed_of_its_own(recipe: Path):
    recipe.write_text(recipe.read_text().replace("  - name: second\n", "  - name: second\n    seed: 8\n"))
    assert [stage.seed for stage in load_recipe(recipe, ["seed=3"])[1]] == [3, 8]


def test_one_stage_alone_is_an_experiment(recipe: Path):
    assert load_stage(recipe, "first") == load_recipe(recipe)[1][0]
    second = load_stage(recipe, "second", ["model.path=playground:0.5m", "policy.ranks=1"])
    assert (second.name, second.seed, second.model.path, second.policy.ranks) == ("second", 7, "playground:0.5m", 1)
    with pytest.raises(ConfigError) as error:
        load_stage(recipe, "second")
    told = "two.yaml:17: stage second: model.path: 'stage:first' names no earlier stage (earlier: none)"
    assert str(error.value) == told
    with pytest.raises(ConfigError) as error:
        load_stage(recipe, "secnd")
    assert str(error.value) == "two.yaml: has no stage 'secnd'; did you mean second? (stages: first, second)"
    with pytest.raises(ConfigError) as error:
        load_stage(recipe, "first", ["policy.rnks=1"], by="benchmarks.one")
    assert str(error.value) == "benchmarks.one 'policy.rnks=1': policy.rnks: unknown key; did you mean ranks?"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "    loop: {steps: 5}",
            "    loop: {stepz: 5}",
            "two.yaml:20: stage second: loop.stepz: unknown key; did you mean steps?",
        ),
        ("    ranks: 2", "    rnks: 2", "two.yaml:6: stage first: policy.rnks: unknown key; did you mean ranks?"),
        (
            "    rewards: [{name: exact_match}]",
            "    rewards.0.nam: exact_match",
            "two.yaml:19: stage second: rewards is not given in the file; give the whole list: rewards=[...]",
        ),
        (
            "    rewards: [{name: exact_match}]",
            "    policy.rnks: 2",
            "two.yaml:19: stage second: policy.rnks: unknown key; did you mean ranks?",
        ),
        (
            "    rewards: [{name: exact_match}]\n",
            "",
            "two.yaml:15: stage second: rewards: grpo needs at least one, as in rewards: [{name: exact_match}]",
        ),
        ("    loop: {steps: 5}\n", "", "two.yaml:15: stage second: loop: required key is missing: How long, and what"),
        (
            "    loop: {steps: 5}",
            "    set: {loop.steps: 5}",
            "two.yaml:20: stages.1.set: is no longer a key: write its keys into the stage itself, where a key with "
            "dots replaces all that was said there",
        ),
        (
            "  - name: second\n    method",
            "  - method",
            "two.yaml:15: stages.1.name: required key is missing: name of the stage and of its folder",
        ),
        (
            "  - name: second",
            "  - name: first",
            "two.yaml:15: stages.1.name: 'first' is the name of an earlier stage, too; give each its own",
        ),
        (
            "  - name: second",
            "  - name: a b",
            "two.yaml:15: stages.1.name: wanted text that matches ^[A-Za-z0-9._-]+$, got 'a b'",
        ),
        (
            "    loop: {steps: 5}",
            "    config: [own.yaml]",
            "two.yaml:20: stages.1.config: wanted the path of an experiment's file",
        ),
        ("    loop: {steps: 5}", "    config: gone.yaml", "two.yaml: stage second: gone.yaml: no such file"),
        (RECIPE.partition("stages:")[2], " 17\n", "two.yaml:9: stages: wanted a list; each item keys with values"),
        (RECIPE.partition("stages:")[2], " []\n", "two.yaml:9: stages: wanted at least 1 item, got 0"),
        (RECIPE.partition("stages:")[2], " [17]\n", "two.yaml:9: stages.0: wanted a section, got 17"),
        (RECIPE.partition("stages:")[2], " {name: one}\n", "two.yaml:9: stages: wanted a list; each item keys with"),
        ("name: two\n", "name: two\nstagez: 1\n", "two.yaml:2: stagez: unknown key; did you mean stages?"),
    ],
)
def test_a_mistake_is_one_line_with_the_stage_and_where_it_was_written(recipe: Path, old: str, new: str, expected: str):
    assert RECIPE.count(old) == 1
    recipe.write_text(RECIPE.replace(old, new))
    told = message(recipe)
    assert told.startswith(expected)
    assert "\n" not in told


def test_scores_that_nobody_will_have_measured_can_not_normalise():
    with pytest.raises(
        ConfigError,
        match=r"stage ppo: reward_models\.0\.normalize: needs the scores that stage:reward_model gave to held-out data",
    ):
        load_recipe(RLHF, ["reward_model.data.eval=null", "reward_model.loop.eval_every=0"])


def test_a_later_stage_is_no_source():
    with pytest.raises(
        ConfigError,
        match=r"^command line 'prefer\.data.*': data\.train\.path: 'stage:ppo' names no earlier stage \(earlier: sft\)",
    ):
        load_recipe(RLHF, ["prefer.data.train.path=stage:ppo"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "ppo.reward_models.0.path=stage:sft",
            "reward_models.0.path: wanted a reward model, and stage:sft makes a model",
        ),
        ("reward_model.data.train.path=stage:sft", "data.train.path: wanted a data set, and stage:sft makes a model"),
        (
            "ppo.model.path=stage:reward_model",
            "model.path: wanted a model, and stage:reward_model makes a reward model",
        ),
    ],
)
def test_a_stage_is_taken_for_what_it_makes(override: str, told: str):
    assert message(RLHF, override) == f"command line '{override}': {told}"


def test_what_is_wrong_with_a_stage_is_said_of_where_it_was_written(recipe: Path):
    """In the command, as typed; in the recipe; or in the stage's own file."""
    typed = "second.loop.stepz=3"
    assert message(recipe, typed) == f"command line '{typed}': loop.stepz: unknown key; did you mean steps?"
    for typed in ("stages.1.loop={stepz: 3}", "stages.1.loop.stepz=3"):
        told = message(recipe, typed).splitlines()
        assert told[0] == f"command line '{typed}': stage second: loop.stepz: unknown key; did you mean steps?"
    typed = "common.policy.rnks=3"
    assert (
        message(recipe, typed) == f"command line '{typed}': stage first: policy.rnks: unknown key; did you mean ranks?"
    )
    own = Path("own.yaml")
    own.write_text("nam: own\nname: own\n")
    recipe.write_text("name: two\nstages:\n  - {name: one, config: own.yaml}\n")
    assert message(recipe).splitlines()[0] == "two.yaml: stage one: own.yaml:1: nam: unknown key; did you mean name?"


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("policy.ranks=1", "; a stage's settings begin with its name, as in ppo.policy.ranks=..."),
        ("pppo.loop.steps=3", "; did you mean ppo?"),
    ],
)
def test_an_override_begins_with_a_stage_or_a_key_of_the_recipe(override: str, hint: str):
    with pytest.raises(
        ConfigError, match=r"^command line '.*=.*': .* is neither a stage nor a key of the recipe "
    ) as error:
        load_recipe(RLHF, [override])
    assert str(error.value).endswith(f"(stages: ppo, prefer, prefer_test, reward_model, sft){hint}")
