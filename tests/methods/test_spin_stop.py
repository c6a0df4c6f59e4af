from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.fakes import SoftmaxPolicy, make_roles, prompt

from rlsys.config.sampling import SamplingConfig
from rlsys.data.answered import Answered
from rlsys.data.load import Demonstration
from rlsys.data.stream import Stream
from rlsys.methods.base import Step
from rlsys.methods.spin import Config, Method

STEP = Step(3, 2, seed=0)
ROWS = 20


@pytest.mark.parametrize(
    ("stops", "done"),
    [
        ({"stop_margin": 0.0}, "iteration 3: each held-out sample of the opponent is the data's own answer"),
        (
            {"stop_margin": None, "stop_accuracy": 0.5},
            "iteration 3: each held-out sample of the opponent is the data's own answer",
        ),
        ({"stop_margin": None}, None),
    ],
)
def test_held_out_samples_that_all_are_the_data_end_the_run(stops: dict[str, Any], done: str | None):
    """The opponent always says 2, which is the answer of every held-out row and of no other: there is no held-out pair
    to measure."""
    method = Method(
        Config.model_validate(
            {"prompts_per_step": ROWS, "epochs": 1, "mini_batches": 1, "held_out_share": 0.3, "scored": False, **stops}
        ),
        SamplingConfig(),
        pad_id=0,
    )
    trained = [Answered(prompt(f"p{number}"), Demonstration(f"p{number}", (0, 1), (0, 1))) for number in range(ROWS)]
    held_out = {row.row_id for row in trained if method.is_held_out(row, STEP)}
    assert 1 < len(held_out) < ROWS - 1
    rows = [
        replace(row, demonstration=replace(row.demonstration, token_ids=(0, 2))) if row.row_id in held_out else row
        for row in trained
    ]
    roles = replace(make_roles(), reward=None)
    assert isinstance(roles.policy, SoftmaxPolicy)
    assert roles.weight_sync is not None
    roles.policy.logits = torch.tensor([-50.0, -50.0, 50.0, -50.0], dtype=torch.float64, requires_grad=True)
    roles.weight_sync.sync(2)
    experience = method.collect(roles, Stream(rows, 0, False), STEP)
    learned = method.learn(roles, experience, STEP)
    counts = [experience.metrics[f"dataset/{name}"] for name in ("pairs", "held_out", "equal")]
    assert counts == [ROWS - len(held_out), 0, len(held_out)]
    assert learned.done == done
    assert roles.policy.updates == 1, "the other rows are learned from all the same"
