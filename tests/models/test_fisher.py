"""What is kept of a finished task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlsys.errors import ConfigError
from rlsys.models.fisher import open_fisher, write_fisher


def test_what_was_written_is_read_and_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    fisher, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    write_fisher(tmp_path, {"layer.weight": (fisher, weight)}, rows=4)
    with open_fisher(tmp_path, {"layer.weight": (1, 2)}) as kept:
        assert torch.equal(kept.fisher("layer.weight"), fisher)
        assert torch.equal(kept.weight("layer.weight"), weight)
    for shapes, wanted in (
        ({"layer.wieght": (1, 2)}, r"layer\.weight is kept there and not trained here; did you mean layer\.wieght"),
        ({"layer.weight": (1, 2), "other": (1,)}, r"other is trained here and not there"),
        ({"layer.weight": (2, 1)}, r"layer\.weight is \[1, 2\] there and \[2, 1\] here"),
    ):
        with pytest.raises(ConfigError, match=wanted), open_fisher(tmp_path, shapes):
            pass
    with pytest.raises(ConfigError, match="keeps no Fisher information"), open_fisher(tmp_path / "no", {}):
        pass
    (tmp_path / "ewc" / "fisher.safetensors").write_bytes(b"half")
    with pytest.raises(ConfigError, match="no whole safetensors file"), open_fisher(tmp_path, {}):
        pass
