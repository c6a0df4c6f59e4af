"""Every file in configs/ is valid. Nothing is fetched, and the machine need not have what they ask for."""

from pathlib import Path

import pytest

from rlsys.check.judge_eval import load_judge_eval
from rlsys.check.load import load
from rlsys.check.recipe import load_recipe
from rlsys.config.kinds import kind_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("**/*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_it_is_valid(path: Path):
    kind = kind_of(path)
    if kind == "judge-eval":
        assert load_judge_eval(path, this_machine=False).judge.model
    elif kind == "recipe":
        recipe, experiments = load_recipe(path, this_machine=False)
        names = [experiment.name for experiment in experiments]
        assert [name for name in names if "_on_" not in name] == [stage.name for stage in recipe.steps]
    else:
        loop = load(path, this_machine=False).loop
        assert loop.steps or loop.epochs


def test_there_are_some():
    assert {"quickstart.yaml", "grpo/gsm8k.yaml", "judge/evaluate.yaml"} <= {
        str(path.relative_to(CONFIGS)) for path in SHIPPED
    }
