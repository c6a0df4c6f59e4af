from __future__ import annotations

import pytest
import torch
from support.fakes import SoftmaxPolicy
from torch import Tensor

from rlsys.batch import Batch
from rlsys.methods.shared import preferences
from rlsys.methods.shared.preferences import summed_log_probs


def test_a_great_batch_is_scored_in_pieces_and_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    """Row i has i + 1 trained tokens, of log-probs log (0.1, 0.2, 0.3, 0.4) of its tokens."""
    seen: list[tuple[int, ...]] = []

    class Watched(SoftmaxPolicy):
        def log_probs(self, batch: Batch, temperature: float) -> Tensor:
            seen.append(tuple(batch.token_ids_BT.shape))
            return super().log_probs(batch, temperature)

    policy, p = Watched(), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    policy.logits = p.log().requires_grad_()
    tokens = torch.arange(30).view(5, 6) % 4
    places = torch.arange(6)
    lengths = torch.arange(2, 7)
    batch = Batch(tokens, (places > 0) & (places < lengths[:, None]), lengths)
    wanted = [float(p[tokens[row, 1 : row + 2]].log().sum()) for row in range(5)]
    assert summed_log_probs(policy, batch, 1.0).tolist() == pytest.approx(wanted, abs=1e-6)
    monkeypatch.setattr(preferences, "ROWS", 2)
    assert summed_log_probs(policy, batch, 1.0).tolist() == pytest.approx(wanted, abs=1e-6)
    assert seen == [(5, 6), (2, 3), (2, 5), (1, 6)]
