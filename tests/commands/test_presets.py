"""What people are shown of the presets is what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlsys import registry
from rlsys.commands.presets import AXES, axes, presets, settings_yaml
from rlsys.errors import ConfigError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "algorithms.md"


@pytest.mark.parametrize("name", presets())
def test_printed_settings_are_the_preset_when_they_are_copied(name: str):
    config = registry.resolve("rlsys.methods", name, "Config")
    copied = yaml.safe_load("\n".join(settings_yaml(name)))["method"]
    assert config.model_validate(copied) == config()


def test_the_page_has_the_table_of_all_presets():
    rows = [f"| {' | '.join((name, *axes(settings)))} |" for name, settings in presets().items()]
    assert "\n".join([f"| preset | {' | '.join(AXES)} |", "|---|---|---|---|---|---|", *rows]) in PAGE.read_text(
        encoding="utf-8"
    )


def test_papers_choices():
    found = presets()
    assert (found["dapo"].clip_low, found["dapo"].clip_high, found["dapo"].equal_groups) == (0.2, 0.28, "resample")
    assert (found["gspo"].clip_low, found["gspo"].clip_high) == (3e-4, 4e-4)
    assert (found["ppo"].baseline, found["ppo"].gae_lambda, found["ppo"].kl_in) == ("gae", 0.95, "reward")
    assert (found["dr_grpo"].scale, found["dr_grpo"].reduction) == ("none", "constant")


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean rloo"):
        list(settings_yaml("rlo"))
