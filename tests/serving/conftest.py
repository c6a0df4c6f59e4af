"""A base, and adapters of several kinds on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.adapted import adapted, saved

from rlsys import registry
from rlsys.models.adapters.base import PACKAGE
from rlsys.playground.models import build


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `tiny` and the run folders of adapters on it, each named by its kind."""
    folder = tmp_path_factory.mktemp("served")
    base = build("0.5m", folder / "tiny")
    for kind, settings in {
        "lora": {"rank": 4},
        "rslora": {"rank": 12},
        "lora_plus": {"rank": 2},
        "qlora": {"rank": 4},
        "dora": {"rank": 4},
        "ia3": {},
        "vera": {"rank": 4},
        "prompt": {"tokens": 2},
        "bottleneck": {},
        "freeze": {"layers": 2},
    }.items():
        config = registry.resolve(PACKAGE, kind, "Config")(kind=kind, **settings)
        saved(adapted(base, config), folder / kind / "final" / "adapter", base)
    return folder
