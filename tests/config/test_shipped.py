"""Every file in configs/ is valid. Nothing is fetched, and the machine need not have what they ask for."""

from pathlib import Path

import pytest

from rlsys.config.load import load
from rlsys.config.recipe import load_recipe
from rlsys.config.yaml_file import read

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("**/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_is_valid(path: Path):
    if "stages" in read(path)[0]:
        recipe, experiments = load_recipe(path)
        assert [experiment.name for experiment in experiments] == [stage.name for stage in recipe.stages]
    else:
        assert load(path, this_machine=False).loop.steps > 0


def test_there_are_some():
    assert {"quickstart", "grpo_gsm8k"} <= {path.stem for path in CONFIGS}
