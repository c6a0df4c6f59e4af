"""Elastic weight consolidation on one rank (Kirkpatrick et al. 2017, arXiv 1612.00796): the penalty that holds weights
near those of earlier tasks, and the Fisher information of the task that ends here. Both are spread over the ranks as
the optimizer's states are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from actors.engines.deepspeed_pieces import Piece
from rlsys.config.ewc import EwcConfig
from rlsys.models.fisher import open_fisher, write_fisher
from rlsys.objectives.stats import Mean, Stats

Shapes = Mapping[str, tuple[int, ...]]
"""Of all trained parameters, by name."""


class Penalty:
    """sum over tasks i of (strength / 2) sum F_i (theta - theta_i)^2, equation 3 of the paper.

    Kept as one square: with A = sum F_i and c = sum F_i theta_i / A it is (strength / 2) (sum A (theta - c)^2 + rest),
    where the rest does not depend on theta; so it takes two numbers of each weight however many tasks there were.
    Raises ConfigError for a task that trained other parameters.
    """

    def __init__(self, pieces: Sequence[Piece], shapes: Shapes, folders: Sequence[Path], strength: float) -> None:
        self.pieces, self.strength = pieces, strength
        self.curvature = [torch.zeros_like(piece.weight(), dtype=torch.float32) for piece in pieces]
        self.center = [torch.zeros_like(total) for total in self.curvature]
        self.rest = 0.0
        for folder in folders:
            with open_fisher(folder, shapes) as kept:
                for place, piece in enumerate(pieces):
                    self._join(place, piece.of(kept.fisher(piece.name)), piece.of(kept.weight(piece.name)))

    def _join(self, place: int, fisher: Tensor, weight: Tensor) -> None:
        """A (theta - c)^2 + F (theta - w)^2 = (A + F) (theta - m)^2 + A F / (A + F) (c - w)^2, m between c and w."""
        total, center = self.curvature[place], self.center[place]
        fisher, weight = fisher.to(total), weight.to(total)
        joined = total + fisher
        share = torch.where(joined > 0, fisher / joined, 0.0)
        self.rest += float((total.double() * share * (center - weight).double() ** 2).sum())
        center += share * (weight - center)
        total.copy_(joined)

    def value(self) -> float:
        """This rank's part, at the weights as they are."""
        squares = (
            float((total * (piece.weight() - center) ** 2).sum(dtype=torch.float64))
            for piece, total, center in zip(self.pieces, self.curvature, self.center, strict=True)
        )
        return self.strength / 2 * (sum(squares) + self.rest)

    def add_gradient(self) -> None:
        for piece, total, center in zip(self.pieces, self.curvature, self.center, strict=True):
            piece.set_gradient(piece.gradient() + self.strength * total * (piece.weight() - center))


class Squares:
    """Sums of squared gradients, one of each row: the diagonal of the Fisher information, times the rows."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces, self.rows = pieces, 0
        self.sums = [torch.zeros_like(piece.weight(), dtype=torch.float32) for piece in pieces]

    def add(self) -> None:
        """Take one row's gradient, and spoil it, so that the optimizer drops it."""
        for piece, total in zip(self.pieces, self.sums, strict=True):
            gradient = piece.gradient()
            total += gradient.float() ** 2
            piece.set_gradient(torch.full_like(gradient, torch.nan))
        self.rows += 1

    def whole(self, shapes: Shapes, device: torch.device, spread: bool) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, Fisher information and weight of each trained parameter, of its shape. Collective where they are
        `spread` over the ranks: on all of them, one at a time."""
        held = {piece.name: (piece, total) for piece, total in zip(self.pieces, self.sums, strict=True)}
        for name, shape in shapes.items():
            both = torch.zeros(2, *shape, device=device)
            if name in held:
                piece, total = held[name]
                piece.of(both[0]).copy_(total / self.rows)
                piece.of(both[1]).copy_(piece.weight())
            if spread:
                dist.all_reduce(both)
            yield name, both[0], both[1]


class Ewc:
    """What a training engine does of it. `spread`: each number is one rank's own, as at ZeRO 1 to 3."""

    def __init__(
        self, pieces: Sequence[Piece], shapes: Shapes, config: EwcConfig | None, spread: bool, device: torch.device
    ) -> None:
        self.pieces, self.shapes, self.spread, self.device = pieces, shapes, spread, device
        self.squares: Squares | None = None
        self.penalty: Penalty | None = None
        if config is not None and config.of:
            self.penalty = Penalty(pieces, shapes, [Path(path) for path in config.of], config.strength)

    @property
    def change(self) -> Callable[[], None] | None:
        """Of the gradient of an optimizer step."""
        return self.penalty.add_gradient if self.penalty is not None else None

    def stats(self) -> Stats:
        """The penalty before an optimizer step. Collective."""
        if self.penalty is None:
            return {}
        value = torch.tensor(self.penalty.value(), dtype=torch.float64, device=self.device)
        if self.spread:
            dist.all_reduce(value)
        return {"ewc_penalty": Mean(float(value), 1.0)}

    def add_row(self) -> None:
        """The gradient is one row's."""
        if self.squares is None:
            self.squares = Squares(self.pieces)
        self.squares.add()

    def write(self, folder: Path, writes: bool) -> None:
        """What was added up, if anything was, into a final model's folder. Collective; one rank `writes`."""
        if self.squares is None:
            return
        found = self.squares.whole(self.shapes, self.device, self.spread)
        kept = {name: (fisher.cpu(), weight.cpu()) for name, fisher, weight in found if writes}
        if writes:
            write_fisher(folder, kept, self.squares.rows)
