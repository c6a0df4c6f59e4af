"""What is wrong with a recipe is said before its first stage starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.check.recipe import load_recipe
from rlsys.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_scores_that_nobody_will_have_measured_can_not_normalise():
    with pytest.raises(
        ConfigError,
        match=r"stage ppo: .*: reward_models\.0\.normalize: needs the scores that stage:reward_model gave to held-out data",
    ):
        load_recipe(CONFIGS / "demo_rlhf.yaml", ["reward_model.data.eval=null", "reward_model.loop.eval_every=0"])


def test_a_later_stage_is_no_source():
    with pytest.raises(
        ConfigError,
        match=r"^command line 'prefer\.data.*': data\.train\.path: 'stage:ppo' names no earlier stage \(earlier: sft\)",
    ):
        load_recipe(CONFIGS / "demo_rlhf.yaml", ["prefer.data.train.path=stage:ppo"])


@pytest.mark.parametrize(
    ("override", "message"),
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
def test_a_stage_is_taken_for_what_it_makes(override: str, message: str):
    with pytest.raises(ConfigError) as error:
        load_recipe(CONFIGS / "demo_rlhf.yaml", [override])
    assert str(error.value) == f"command line '{override}': {message}"


def test_what_is_wrong_with_a_stage_is_said_of_where_it_was_written(tmp_path: Path):
    """In the command, as typed; in the recipe; or in the stage's own file."""
    with pytest.raises(ConfigError) as error:
        load_recipe(CONFIGS / "demo_rlhf.yaml", ["ppo.loop.stepz=3"])
    assert str(error.value) == "command line 'ppo.loop.stepz=3': loop.stepz: unknown key; did you mean steps?"
    recipe, own = tmp_path / "recipe.yaml", tmp_path / "own.yaml"
    own.write_text((CONFIGS / "quickstart_sft.yaml").read_text())
    recipe.write_text("name: two\nstages:\n  - name: one\n    config: own.yaml\n    set:\n      loop.stepz: 3\n")
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe)
    assert str(error.value) == f"{recipe}:6: stage one: loop.stepz: unknown key; did you mean steps?"
    for typed in ("stages.0.set={loop.stepz: 3}", "stages.0.set.loop.stepz=3"):
        with pytest.raises(ConfigError) as error:
            load_recipe(recipe, ["stages.0.set={}", typed])
        assert (
            str(error.value).splitlines()[0]
            == f"command line '{typed}': stage one: loop.stepz: unknown key; did you mean steps?"
        )
    recipe.write_text("name: two\nstages:\n  - {name: one, config: own.yaml}\n")
    own.write_text("nam: own\n" + own.read_text())
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe)
    assert str(error.value) == f"{recipe}: stage one: {own}:1: nam: unknown key; did you mean name?"


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
        load_recipe(CONFIGS / "demo_rlhf.yaml", [override])
    assert str(error.value).endswith(f"(stages: ppo, prefer, prefer_test, reward_model, sft){hint}")
