"""Rows of random tokens, for tests of what a model makes of them."""

from __future__ import annotations

import torch

from rlsys.batch import Batch

LENGTHS = [7, 12, 3, 9]


def rows(seed: int = 0) -> Batch:
    """Of which tokens from the third on are trained; padding is random, too, so that whatever looks at it shows."""
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(0, 256, (len(LENGTHS), max(LENGTHS)), generator=generator)
    places, lengths = torch.arange(max(LENGTHS)), torch.tensor(LENGTHS)
    return Batch(token_ids, (places >= 2) & (places < lengths[:, None]), lengths)
