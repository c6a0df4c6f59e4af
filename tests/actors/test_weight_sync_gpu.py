"""The GPU transports through real engines; on machines with GPUs only."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
from support.engine_setup import GREEDY, Setup, open_sync, start_engines, start_trainer

from actors.weight_sync.records import checksum, device_checksum

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


def test_checksum_is_the_same_wherever_it_is_taken() -> None:
    data = torch.randint(0, 256, (1_000_003,), dtype=torch.uint8)
    assert checksum(data.cuda()) == device_checksum(data)


@pytest.mark.engine
@pytest.mark.parametrize(("transport", "share"), [("ipc", 0.4), ("nccl", 1.0)])
def test_weights_arrive_and_greedy_answers_follow_them(
    ray_session: None, model_path: Path, transport: str, share: float
) -> None:
    if transport == "nccl" and torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA GPUs")
    trainer, rollout = start_trainer(model_path, share), start_engines(model_path, 1, share)
    setup = Setup(trainer, rollout, open_sync(trainer, rollout, transport))
    answers = []
    for seed in (1, 2, 1):
        trainer.change(seed)
        setup.send()  # within the probe's tolerance, or it raises
        answers.append(
            {name: group.trajectories[0].token_ids for name, group in setup.sample(GREEDY, engines=1).items()}
        )
    assert answers[0] == answers[2] != answers[1]
    for actor in [*rollout.actors, *trainer.actors]:
        ray.kill(actor)
