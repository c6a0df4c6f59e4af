"""The page in real headless Chromium, where one is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.written_run import write_run, write_story

from rlsys.commands.compare import page as comparison
from rlsys.commands.compare.together import together
from rlsys.commands.report.html import write

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium` brings one"),
]
LIMIT = 90
"""Seconds for one page."""


@dataclass(frozen=True)
class Seen:
    document: str
    """As it stands once the scripts have run."""
    console: Sequence[str]
    asked: Sequence[str]
    """Addresses that a page asked for, but for its own file."""


def look(page: Path, work: Path) -> Seen:
    work.mkdir()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    own = [f"--user-data-dir={work / 'profile'}", f"--log-net-log={work / 'net.json'}", "--enable-logging=stderr"]
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *options, *own, "--virtual-time-budget=3000", "--window-size=400,800", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    events = json.loads((work / "net.json").read_text())["events"]
    addresses = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    ours = {address for address in addresses if "127.0.0.1" in address}  # the browser asks its maker for much, too
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line], sorted(ours))


def test_what_this_looks_for_would_be_seen(tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://127.0.0.1:9/x'><script>console.error('bad'); document.title = 'ran'</script>")
    seen = look(page, tmp_path / "work")
    assert "<title>ran</title>" in seen.document
    assert any("bad" in line for line in seen.console)
    assert seen.asked == ["http://127.0.0.1:9/x"]


def test_a_report(tmp_path: Path):
    """Its curves are drawn and its samples are browsed, on a phone's width; hostile text asks for nothing."""
    run = write_run(tmp_path / "run", [0.25, 0.5, 0.75])
    write_story(run)
    page = write(run.path)
    seen = look(page, tmp_path / "work")
    assert (seen.console, seen.asked) == ([], [])
    assert seen.document.count("<canvas") == page.read_text().count("data-chart=") > 2
    assert "10 shown of 10 that match" in seen.document
    assert "reward 1, advantage 1" in seen.document
    assert "<img" not in seen.document


def test_a_comparison(tmp_path: Path):
    runs = [write_run(tmp_path / f"seed-{seed}", [0.25, 0.5 + seed / 10], f"seed={seed}") for seed in (0, 1)]
    page = comparison.write(together([run.path for run in runs]), tmp_path / "both.html")
    seen = look(page, tmp_path / "work")
    assert (seen.console, seen.asked) == ([], [])
    assert seen.document.count("<canvas") == page.read_text().count("data-chart=") > 2
