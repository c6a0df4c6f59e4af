"""How DeepSpeed's checkpoints are written and read: a full disk fails on all ranks alike, and a file can hold nothing
that executes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from rlsys.errors import CheckpointError, SaveError

RECORDS = [LossScaler, ZeroStageEnum, fragment_address]
"""What ZeRO writes beside tensors and plain data: records without any code that loading runs."""


class Files(TorchCheckpointEngine):
    """DeepSpeed's own, but for what it lets go wrong. A write that fails is remembered until `agree`, as a rank that
    raised at once would leave the others waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: str | None = None

    def attempt(self, path: str, write: Callable[[], Any]) -> None:
        try:
            write()
        except (OSError, RuntimeError) as error:  # torch makes of a full disk a RuntimeError
            self.failure = self.failure or f"{Path(path).name}: {' '.join(str(error).split())[:200]}"

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.attempt(path, lambda: Path(path).mkdir(parents=True, exist_ok=exist_ok))

    def save(self, state_dict: Any, path: str) -> None:
        if self.failure is None:
            self.attempt(path, lambda: torch.save(state_dict, path))

    def load(self, path: str, map_location: Any = None) -> Any:
        return read(Path(path), map_location)

    def agree(self, folder: Path) -> None:
        """Collective. Raises SaveError on all ranks if a write of any of them failed since the last time."""
        failures: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(failures, self.failure)
        self.failure = None
        if failed := [failure for failure in failures if failure is not None]:
            raise SaveError(f"{folder}: can't be written: {failed[0]}")


def read(path: Path, map_location: Any = "cpu") -> Any:
    """Tensors and plain data. Raises CheckpointError, and executes nothing, if the file holds anything else."""
    try:
        with torch.serialization.safe_globals(RECORDS):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)|(?<=\. )Trying to load[^.]*|[Uu]nsupported operand[^.]*", str(error))
        raise CheckpointError(
            f"{path}: holds more than tensors and plain data ({found[0] if found else 'no valid pickle'}), which could "
            "be a program; it is refused, and nothing of it was executed"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: is no state of a trainer ({type(error).__name__}: {str(error)[:200]})"
        ) from error
