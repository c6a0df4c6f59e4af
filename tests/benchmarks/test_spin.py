from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.spin import held_out_log_prob, report


def test_the_table_shows_distances_to_the_data(tmp_path: Path):
    """A policy that finds the held-out answers e^2 times less likely than the data do is 2 away, and one that finds
    them e^0.5 times, 0.5."""
    nll = -held_out_log_prob()
    # Entropy in closed form: a uniform length, then letters of which half are among three and half among 23.
    assert nll == pytest.approx(math.log(6) + 3.5 * (math.log(2) + math.log(3 * 23) / 2), abs=1.0)
    after = {"loss": 0.5, "margin": 1.25, "accuracy": 0.75, "real_log_prob": -11.0, "generated_log_prob": -12.5}
    lines = [
        {"step": 0, "eval/answer_nll": nll + 2.0},
        {"step": 1, "eval/answer_nll": nll + 0.5, **{f"train/held_out_{name}": value for name, value in after.items()}},
    ]
    (tmp_path / "spin").mkdir()
    (tmp_path / "spin" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = io.StringIO()
    report(tmp_path, Console(file=out, width=160))
    start, end = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if line.startswith("│")
    ]
    assert start == ["0", "2.000", *[""] * 6]
    assert end == ["1", "0.500", "1.500", "0.500", "1.250", "0.750", "-11.000", "-12.500"]
    saved = json.loads((tmp_path / "spin.json").read_text())
    assert saved["ln_2"] == math.log(2)
    assert saved["iterations"][1]["distance"] == pytest.approx(0.5)
