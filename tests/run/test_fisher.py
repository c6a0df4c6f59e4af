"""The Fisher information of a finished task, on a policy whose gradients are known in closed form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.fakes import SoftmaxPolicy
from support.looping import running

from rlsys.batch import Batch
from rlsys.errors import RunError
from rlsys.methods.base import Experience, Learned
from rlsys.objectives.likelihood_loss import CrossEntropyLoss
from rlsys.run.fisher import Observed, add_fisher
from rlsys.run.folder import RunDir


def test_rows_of_further_steps_are_taken_and_nothing_is_trained(tmp_path: Path) -> None:
    with running(RunDir.create(tmp_path, "a"), 2) as loop:
        loop.run()
        policy = loop.roles.policy
        assert isinstance(policy, SoftmaxPolicy)
        before, updates, step = policy.logits.detach().clone(), policy.updates, loop.state.step
        add_fisher(loop, 30)
        assert len(policy.fisher) == 30
        assert torch.equal(policy.logits, before)
        assert (policy.updates, loop.state.step) == (updates, step)


def test_each_row_gives_the_square_of_its_own_gradient() -> None:
    """At uniform logits of four tokens the gradient of the log-prob of n tokens is their counts less n / 4: of token 1,
    (-1/4, 3/4, -1/4, -1/4); of 1 and 2, (-1/2, 1/2, 1/2, -1/2). A third row is more than was asked for."""
    tokens = torch.tensor([[0, 1, 0], [0, 1, 2], [0, 3, 3]])
    mask = torch.tensor([[False, True, False], [False, True, True], [False, True, True]])
    policy = SoftmaxPolicy()
    observed = Observed(policy, 2)
    observed.forward_backward(Batch(tokens, mask, torch.tensor([2, 3, 3])), CrossEntropyLoss())
    assert [row.tolist() for row in policy.fisher] == [[1 / 16, 9 / 16, 1 / 16, 1 / 16], [1 / 4, 1 / 4, 1 / 4, 1 / 4]]
    assert observed.left == 0


def test_a_method_with_nothing_left_to_train_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(RunDir.create(tmp_path, "a"), 1) as loop:
        loop.run()
        monkeypatch.setattr(type(loop.method), "learn", lambda *_: Learned({}))
        monkeypatch.setattr(type(loop.method), "collect", lambda *_: Experience(0))
        with pytest.raises(RunError, match=r"0 rows for the Fisher information, and ewc\.samples=5"):
            add_fisher(loop, 5)
