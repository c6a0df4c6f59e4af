"""What a config file is for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rlsys.config.yaml_file import read

Kind = Literal["experiment", "recipe", "judge-eval"]


def kind_of(path: Path) -> Kind:
    """By its sections: a recipe has `stages`; the evaluation of a judge has `judge`, and neither trains nor samples.
    Raises ConfigError as `read`."""
    keys = read(path)[0].keys()
    if "stages" in keys:
        return "recipe"
    return (
        "judge-eval"
        if "judge" in keys and not keys & {"method", "algorithm", "stage", "loop", "model"}
        else "experiment"
    )
