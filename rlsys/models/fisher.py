"""What is kept of a finished task for elastic weight consolidation: the diagonal of the Fisher information of each
trained parameter, and the parameter as it was, in `ewc/` of the final model's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsys.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

EWC = "ewc"
"""The folder in a final model's."""
FISHER, RECORD = "fisher.safetensors", "ewc.json"
OF_FISHER, OF_WEIGHTS = "fisher.", "weight."
"""What the tensors' names begin with; both float32."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An open file of a finished task."""

    file: Any

    def fisher(self, name: str) -> Tensor:
        return self.file.get_tensor(OF_FISHER + name)

    def weight(self, name: str) -> Tensor:
        """The parameter at the end of the task."""
        return self.file.get_tensor(OF_WEIGHTS + name)


def write_fisher(folder: Path, tensors: Mapping[str, tuple[Tensor, Tensor]], rows: int) -> None:
    """Into a final model's folder: Fisher information (a mean over `rows`) and weight of each trained parameter, whole,
    on the CPU."""
    from safetensors.torch import save_file

    own = folder / EWC
    own.mkdir(parents=True, exist_ok=True)
    flat = {OF_FISHER + name: fisher.contiguous() for name, (fisher, _) in tensors.items()}
    flat |= {OF_WEIGHTS + name: weight.contiguous() for name, (_, weight) in tensors.items()}
    record = {"rows": rows, "fisher": "mean over rows of the squared gradient of log p(trained tokens of the row)"}
    (own / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    save_file(flat, own / FISHER, metadata={"format": "pt"})
    (own / FISHER).chmod((own / RECORD).stat().st_mode & 0o777)


@contextmanager
def open_fisher(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Kept]:
    """Of a final model's folder. Raises ConfigError where it has none, or one of other parameters than those that
    `shapes` names."""
    from safetensors import SafetensorError, safe_open

    path = folder / EWC / FISHER
    if not path.is_file():
        raise ConfigError(f"ewc.of {folder}: keeps no Fisher information ({EWC}/{FISHER}); train it with ewc.samples")
    try:
        with safe_open(path, framework="pt") as file:
            names: list[str] = list(file.keys())
            kept = {name.removeprefix(OF_FISHER): name for name in names if name.startswith(OF_FISHER)}
            if kept.keys() != shapes.keys():
                only = sorted(kept.keys() ^ shapes.keys())[0]
                here, there = ("trained here", "there") if only in shapes else ("kept there", "trained here")
                near = did_you_mean(only, kept if only in shapes else shapes)
                wanted = "go on with the parameters that it trained (with an adapter: by model.adapter.path)"
                raise ConfigError(f"ewc.of {folder}: {only} is {here} and not {there}{near}; {wanted}")
            for name, shape in shapes.items():
                if (found := tuple(file.get_slice(kept[name]).get_shape())) != tuple(shape):
                    raise ConfigError(f"ewc.of {folder}: {name} is {[*found]} there and {[*shape]} here")
            yield Kept(file)
    except SafetensorError as error:
        raise ConfigError(f"{path}: is no whole safetensors file: {error}") from error
