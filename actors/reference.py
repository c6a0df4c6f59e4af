"""One replica of a frozen reference model, as a Ray actor. Forward only, so plain PyTorch is enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlsys.batch import Batch
from rlsys.config.models import ModelConfig, ReferenceConfig
from rlsys.models.forward import Scorer, log_probs
from rlsys.models.load import choose_attention, load_causal_lm


class ReferenceActor:
    """Made light; `start` makes it ready. `model_path` is what `local_path` gave for the reference's path (the policy's if it has none);
    precision and attention kernel are the policy's, so that equal weights give equal log-probs."""

    def __init__(self, model: ModelConfig, config: ReferenceConfig, model_path: Path) -> None:
        self.model, self.config, self.model_path = model, config, model_path

    def start(self) -> bool:
        """Load the model. Returns whether it packs rows."""
        torch.set_num_threads(self.config.threads)
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        dtype = getattr(torch, self.model.dtype)
        attention = choose_attention(self.model.attention, self.device.type == "cuda", dtype)
        network = load_causal_lm(self.model_path, dtype, attention).eval().requires_grad_(False)
        self.scorer = Scorer(network, packed=attention == "flash_attention_2").to(self.device)
        return self.scorer.packed

    def log_probs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> Tensor:
        return log_probs(self.scorer, batch, micro_batches, temperature, self.device)
