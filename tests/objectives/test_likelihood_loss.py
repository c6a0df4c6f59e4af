import math

import pytest
import torch

from rlsys.batch import Batch
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.objectives.outputs import Outputs
from rlsys.objectives.reduction import SequenceMean
from rlsys.objectives.stats import values
from rlsys.roles import Loss

LN2 = math.log(2)
MASK = torch.tensor([[False, True, True, True], [False, True, False, False]])
BATCH = Batch(token_ids_BT=torch.zeros(2, 4, dtype=torch.long), loss_mask_BT=MASK, lengths_B=torch.tensor([4, 3]))
# Probabilities 1/2, 1/4, 1/2 and 1/16: 1, 2, 1 and 4 times ln 2.
LOG_PROBS = torch.tensor([[0.0, -LN2, -2 * LN2, -LN2], [0.0, -4 * LN2, 0.0, 0.0]])


def test_token_mean_by_hand():
    loss: Loss[Batch] = CrossEntropyLoss()
    log_probs = LOG_PROBS.clone().requires_grad_()
    total, stats = loss(Outputs(log_probs), BATCH)
    total.backward()
    assert total.item() / loss.normalizer(BATCH) == pytest.approx(8 * LN2 / 4)
    assert values(stats) == pytest.approx({"loss": 2 * LN2, "nll": 2 * LN2})
    assert log_probs.grad is not None
    assert torch.equal(log_probs.grad, -MASK.float())


def test_sequence_mean_by_hand():
    loss = CrossEntropyLoss(reduction=SequenceMean())
    total, stats = loss(Outputs(LOG_PROBS), BATCH)
    # (4/3 + 4) / 2 = 8/3 per sequence, while the mean over tokens stays 2.
    assert total.item() / loss.normalizer(BATCH) == pytest.approx(8 / 3 * LN2)
    assert values(stats) == pytest.approx({"loss": 8 / 3 * LN2, "nll": 2 * LN2})
