"""One replica of a frozen model, as a Ray actor: the reference, a teacher, or reward models. Forward only, so plain
PyTorch is enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlsys.batch import Batch
from rlsys.config.actors import ModelConfig
from rlsys.models.adapters.shared.over import over
from rlsys.models.forward import Scorer, ValueScorer, last_scores, log_probs, top
from rlsys.models.load import choose_attention, load_causal_lm
from rlsys.models.value_model import load_value_model


class FrozenActor:
    """Made light; `start` makes it ready. `model_path` is what `local_path` gave; precision and attention kernel are
    the policy's, so that equal weights give equal log-probs. `scalar`: it has a scalar head and answers `scores`; a
    language model answers `log_probs` and `top_log_probs`."""

    def __init__(self, model: ModelConfig, threads: int, model_path: Path, scalar: bool) -> None:
        self.model, self.threads, self.model_path, self.scalar = model, threads, model_path, scalar

    def start(self) -> bool:
        """Load the model. Returns whether it packs rows."""
        torch.set_num_threads(self.threads)
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        dtype = getattr(torch, self.model.dtype)
        attention = choose_attention(self.model.attention, self.device.type == "cuda", dtype)
        packed = attention == "flash_attention_2"
        if self.scalar:
            scorer = ValueScorer(load_value_model(self.model_path, dtype, attention), packed)
        else:
            scorer = Scorer(load_causal_lm(self.model_path, dtype, attention), packed)
        self.scorer = scorer.to(self.device).eval().requires_grad_(False)
        return packed

    def log_probs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> Tensor:
        return log_probs(self.scorer, batch, micro_batches, temperature, self.device)

    def top_log_probs(
        self, batch: Batch, micro_batches: Sequence[Sequence[int]], k: int, vocabulary: int, temperature: float
    ) -> tuple[Tensor, Tensor] | None:
        """choices_BTK and teacher_log_probs_BTO; see `forward.top`."""
        assert isinstance(self.scorer, Scorer), "a teacher is a language model"
        return top(self.scorer, batch, micro_batches, k, vocabulary, temperature, self.device)

    def scores(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> Tensor | None:
        """float32 [rows, K]; see `forward.last_scores`."""
        return last_scores(self.scorer, batch, micro_batches, self.device)


class SharedBaseActor:
    """One replica of several reward models, adapters over one base that is in memory once. `adapters`: their folders by
    their names."""

    def __init__(self, model: ModelConfig, threads: int, base: Path, adapters: Mapping[str, Path]) -> None:
        self.model, self.threads, self.base, self.adapters = model, threads, base, adapters

    def start(self) -> bool:
        """Load the base and the adapters. Returns whether it packs rows."""
        torch.set_num_threads(self.threads)
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        dtype = getattr(torch, self.model.dtype)
        attention = choose_attention(self.model.attention, self.device.type == "cuda", dtype)
        base = load_value_model(self.base, dtype, attention, heads=1)
        placed = {name: over(base, folder) for name, folder in self.adapters.items()}
        packed = attention == "flash_attention_2" and all(adapter.packs for adapter in placed.values())
        self.scorers = {
            name: ValueScorer(adapter.network, packed).to(self.device).eval().requires_grad_(False)
            for name, adapter in placed.items()
        }
        return packed

    def scores(self, batch: Batch, micro_batches: Sequence[Sequence[int]], name: str) -> Tensor | None:
        """Of the reward model of this name, as `FrozenActor.scores`."""
        return last_scores(self.scorers[name], batch, micro_batches, self.device)
