from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.written_run import HOSTILE, write_run, write_samples, write_story

from rlsys.commands.report import html
from rlsys.commands.report.bounds import Bounds
from rlsys.commands.report.html import write, write_all
from rlsys.errors import RunError
from rlsys.samples import Score

SHOWN = HOSTILE.replace("\u2028", "\\u2028").replace("\u202e", "\\u202e")
"""Characters that steer a display are spelled out."""


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and all text outside of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", list[str]()
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += f" {data}"

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Page:
    run = write_run(tmp_path_factory.mktemp("runs") / "told", [0.25, 0.5])
    write_story(run)
    return Page(write(run.path).read_text(encoding="utf-8"))


def test_the_figures_are_in_it(told: Page):
    assert "held-out accuracy, sampled 0.250 -> 0.750" in told.words
    assert "Step 2 of 2." in told.words
    assert "1 better , 1 worse , 1 the same. 3 of 3 are shown." in told.words
    facts = "2 tokens, ended by stop, policy version 0 response"
    assert f"step 0 reward: 0; {facts} held 0.0 step 2 reward: 1; {facts} held 2.0" in told.words
    assert "of which learn 6.0 s 75.0%" in told.words
    assert "sampled tokens 20" in told.words
    assert "step 1: a sampler got a successor" in told.words
    assert "policy.learning_rate 0.0001 1e-06" in told.words
    assert f"{' '.join(SHOWN.split())} train 2" in told.words  # two samples of phase train, by one reason
    assert f"2 1 actor died {' '.join(SHOWN.split())}" in told.words


def test_responses_are_shaded_with_their_advantage(told: Page):
    """The largest advantage, -2, is shaded fully; 1 half as much."""
    shades = {(own["class"], own["style"]) for _, own in told.elements if "--shade" in (own.get("style") or "")}
    assert shades == {
        ("up", "--shade: 1"),
        ("down", "--shade: 1"),
        ("down", "--shade: 1.000"),
        ("up", "--shade: 0.500"),
    }


def test_the_curves_have_their_numbers_and_formulas(told: Page):
    charts = json.loads(told.scripts[0])["charts"]
    assert charts[0] == {"steps": [1, 2], "series": [["reward/mean", [0.25, 0.5]]]}
    assert charts[1] == {"steps": [0, 2], "series": [["eval/accuracy_sampled", [0.25, 0.75]]]}
    assert len(charts) == len([1 for _, own in told.elements if "data-chart" in own])
    assert "mean of r_i over the step's scored samples i" in told.words


def test_what_models_wrote_is_text_and_nothing_else(told: Page):
    assert [tag for tag, _ in told.elements if tag == "script"] == ["script"] * 3
    assert not {tag for tag, _ in told.elements} & {"img", "link", "iframe", "object", "form", "base"}
    assert not [name for _, own in told.elements for name in own if name.startswith("on") or name in ("src", "action")]
    assert f"bad {' '.join(SHOWN.split())}" in told.words
    samples = {sample["id"]: sample for sample in json.loads(told.scripts[0])["samples"]}
    assert samples["train-2/a"]["response"] == f"bad {SHOWN}"
    assert samples["train-2/c"]["abstention"] == f"timeout {SHOWN}"
    assert samples["train-2/b"]["reward"] == 1.0


def test_nothing_is_fetched_and_only_its_own_scripts_run(told: Page):
    (policy,) = [own["content"] for _, own in told.elements if own.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert [html.digest(script) in policy for script in told.scripts] == [False, True, True]
    assert [own["href"] for _, own in told.elements if "href" in own and not (own["href"] or "").startswith("#")] == []


def test_a_page_stays_small_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = write_run(tmp_path / "large", [0.5])
    write_samples(run, 1, "train", [(f"train-1/{i}", "é" * 3000, Score(0.5), 0.0) for i in range(101)])
    monkeypatch.setattr(html, "LARGEST", 200_000)
    monkeypatch.setattr(html, "TRIED", (Bounds(1000, 4000, 9), Bounds(50, 200, 9)))
    page = Page(write(run.path).read_text(encoding="utf-8"))
    assert (tmp_path / "large" / "report.html").stat().st_size < 200_000
    # Every third is the closest odd stride that keeps at most 50: numbers 0, 3, ..., 99.
    assert "34 of 101 samples in the ledger are in this page" in page.words
    assert "Longer texts than 200 characters are cut." in page.words
    samples = json.loads(page.scripts[0])["samples"]
    assert [sample["id"] for sample in samples] == [f"train-1/{i}" for i in range(0, 100, 3)]
    assert samples[0]["response"] == "é" * 200 + " … (the first 200 of 3,000 characters)"
    monkeypatch.setattr(html, "LARGEST", 100)
    with pytest.raises(RunError, match="too many for one page"):
        write(run.path)


def test_a_recipe_is_one_page_and_each_stage_has_its_own(tmp_path: Path):
    for stage in ("first", "second"):
        write_story(write_run(tmp_path / "both" / stage, [0.25, 0.5]))
    stages = "".join(f"  - {{name: {name}, config: {name}.yaml}}\n" for name in ("first", "second", "third"))
    (tmp_path / "both" / "recipe.yaml").write_text(f"name: both\nstages:\n{stages}")
    path = write_all(tmp_path / "both")
    assert path == tmp_path / "both" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert [own["id"] for tag, own in page.elements if tag == "section"] == ["stage-1", "stage-2", "browser"]
    assert {sample["stage"] for sample in json.loads(page.scripts[0])["samples"]} == {"first", "second"}
    numbers = [int(own["data-chart"] or "") for _, own in page.elements if "data-chart" in own]
    assert numbers == [*range(len(json.loads(page.scripts[0])["charts"]))]
    assert Page((tmp_path / "both" / "first" / "report.html").read_text(encoding="utf-8")).words.startswith("first")


def test_a_run_that_has_only_begun(tmp_path: Path):
    run = write_run(tmp_path / "begun", [0.5])
    run.summary.unlink()
    run.metrics.unlink()
    run.config.write_text(run.config.read_text().replace("name: grpo", "name: my.own.method"))
    page = Page(write(run.path).read_text(encoding="utf-8"))
    assert "begun: my.own.method stopped" in page.words
    assert "Step 0 of 1." in page.words
    assert "What differs from the defaults can't be told here:" in page.words
    assert [own for _, own in page.elements if "data-chart" in own] == []


def test_the_error_that_ended_it(tmp_path: Path):
    run = write_run(tmp_path / "broken", [0.5])
    run.summary.unlink()
    run.error_log.write_text("Traceback\nrlsys.errors.RunError: no room <left>\n")
    page = Page(write(run.path).read_text(encoding="utf-8"))
    assert "The error that ended it: rlsys.errors.RunError: no room <left>" in page.words


def test_what_is_no_run_is_one_line(tmp_path: Path):
    with pytest.raises(RunError, match="not a run's folder"):
        write(tmp_path)
