from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.written_run import write_run

from rlsys.commands.compare import page
from rlsys.commands.compare.text import drawn, tables
from rlsys.commands.compare.together import Spread, Together, last_figures, together
from rlsys.errors import ConfigError, RunError
from rlsys.run.record import Record


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Two seeds of one setting, and another learning rate."""
    return [
        write_run(tmp_path / "s0", [0.25, 0.5], "seed=0").path,
        write_run(tmp_path / "s1", [0.25, 0.75, 1.0], "seed=1", "loop.steps=2").path,
        write_run(tmp_path / "fast", [0.0, 0.25], "seed=1", "policy.learning_rate=0.001").path,
    ]


def test_settings_that_differ_and_no_others(three: list[Path]):
    (found,) = together(three)
    assert found.labels == ["s0", "s1", "fast"]
    assert found.differences() == [
        ("seed", "0", "1", "1"),
        ("policy.learning_rate", "0.0001", "0.0001", "0.001"),
    ]


def test_last_figures(three: list[Path]):
    (found,) = together(three)
    assert found.figures() == [("eval/accuracy_sampled", [0.75] * 3), ("reward/mean", [0.5, 1.0, 0.25])]


def test_a_finished_run_s_figures_are_those_of_its_model(tmp_path: Path):
    run = write_run(tmp_path / "best", [0.5])
    summary = run.read_summary()
    summary["after"]["eval/accuracy_sampled"] = 0.875  # of the best step, not the last
    run.write_summary(summary)
    assert last_figures(Record.read(run))["eval/accuracy_sampled"] == 0.875


def test_the_spread_over_seeds(three: list[Path]):
    """Of 0.5 and 1: mean 0.75, standard deviation sqrt(2 * 0.25^2 / 1)."""
    (found,) = together(three)
    ((places, spreads),) = found.seeds()
    assert places == [0, 1]
    assert spreads[0] == Spread("eval/accuracy_sampled", 2, 0.75, 0.0, 0.75, 0.75)
    assert spreads[1] == Spread("reward/mean", 2, 0.75, math.sqrt(0.125), 0.5, 1.0)
    (told,) = [rows for title, _, rows in tables(found) if title == "over the seeds of s0 (0), s1 (1)"]
    assert told[1] == ("reward/mean", "0.75 ± 0.35", "0.5", "1")


def test_curves_share_their_steps(three: list[Path]):
    (found,) = together(three)
    chart = next(chart for chart in found.charts(100) if chart.title == "reward/mean")
    assert chart.steps == [1, 2, 3]
    assert chart.series == [("s0", [0.25, 0.5, None]), ("s1", [0.25, 0.75, 1.0]), ("fast", [0.0, 0.25, None])]
    rows = next(rows for title, _, rows in tables(found) if title == "curves")
    assert rows[:3] == [
        ("reward/mean", "s0", "▃▅", "0.25 -> 0.5"),
        ("", "s1", "▃▆█", "0.25 -> 1"),
        ("", "fast", "▁▃", "0 -> 0.25"),
    ]
    assert len(drawn([float(i) for i in range(100)], 0, 99)) == 24


def test_the_page_has_the_curves_and_no_text_as_html(three: list[Path], tmp_path: Path):
    hostile = three[0].rename(tmp_path / "<img src=x>")
    text = page.write(together([hostile, three[1]]), tmp_path / "both.html").read_text(encoding="utf-8")
    assert "<img" not in text
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["charts"][0]["series"][0] == ["<img src=x>", [0.25, 0.5, None]]


def test_recipes_are_compared_stage_by_stage(tmp_path: Path):
    for name, seed, stages in (("a", 0, ("warmup", "rl")), ("b", 1, ("warmup",))):
        for stage in stages:
            model = f"model.path={tmp_path / name / 'warmup' / 'final'}" if stage == "rl" else "name=x"
            write_run(tmp_path / name / stage, [0.5], f"seed={seed}", model)
        steps = "".join(f"  - {{name: {one}, config: {one}.yaml}}\n" for one in ("warmup", "rl"))
        (tmp_path / name / "recipe.yaml").write_text(f"name: {name}\nstages:\n{steps}")
    (found,) = together([tmp_path / "a", tmp_path / "b"])
    assert (found.name, found.labels, found.differences()) == ("warmup", ["a", "b"], [("seed", "0", "1")])
    write_run(tmp_path / "b" / "rl", [0.5], "seed=1", f"model.path={tmp_path / 'b' / 'warmup' / 'final'}")
    of_rl = together([tmp_path / "a", tmp_path / "b"])[1]
    assert (of_rl.name, of_rl.differences()) == ("rl", [("seed", "0", "1")])  # each begins with its own warm-up
    with pytest.raises(ConfigError, match="is no recipe, and others are"):
        together([tmp_path / "a", tmp_path / "b" / "rl"])


def test_names_that_are_equal_are_told_apart(tmp_path: Path):
    folders = [write_run(tmp_path / name / "run", [0.5]).path for name in "ab"]
    (found,) = together(folders)
    assert found.labels == [str(folder) for folder in folders]
    assert isinstance(found, Together)


def test_what_can_not_be_compared_is_one_line(three: list[Path], tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^compare: give two runs or more$"):
        together(three[:1])
    with pytest.raises(ConfigError, match="given twice"):
        together([three[0], three[0]])
    with pytest.raises(RunError, match="not a run's folder"):
        together([three[0], tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"--html .*: can't be written: "):
        page.write(together(three), tmp_path / "nowhere" / "page.html")
