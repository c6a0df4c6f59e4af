"""`report.html`: what happened in a run, or in each stage of a recipe, as one file that opens anywhere, without a
network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from rlsys.commands.report.bounds import LARGEST, TRIED, Bounds
from rlsys.commands.report.curves import Chart
from rlsys.commands.report.stage import Stage, Tell
from rlsys.errors import RunError
from rlsys.files import to_json, write_whole
from rlsys.run.folder import runs_in
from rlsys.run.record import Record

REPORT = "report.html"
PAGE = Path(__file__).parent / "page"
STYLES = ("uplot/uPlot.min.css", "page.css")
SCRIPTS = ("uplot/uPlot.iife.min.js", "page.js")


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of a run or a recipe, finished or not; returns its path. Raises RunError if
    it is neither, or if nothing of it has begun."""
    records = [Record.read(run) for run in runs_in(folder)]
    if not records:
        raise RunError(f"{folder}: none of the recipe's stages has begun; there is nothing to report")
    path = folder.expanduser().absolute()
    for bounds in TRIED:
        page = rendered(path.name, records, bounds)
        if len(page.encode()) <= LARGEST:
            break
    else:
        raise RunError(f"{path}: {len(records)} stages are too many for one page; report on each by itself")
    write_whole(path / REPORT, page)
    return path / REPORT


def write_all(folder: Path) -> Path:
    """`write` for the run or recipe, and for each stage of a recipe that has begun; returns the path of the first."""
    path = write(folder)
    for run in runs_in(folder):
        if run.path != path.parent:
            write(run.path)
    return path


def rendered(title: str, records: Sequence[Record], bounds: Bounds) -> str:
    tell, stages = Tell(bounds.of_each(len(records))), list[Stage]()
    for record in records:
        stages.append(Stage.of(record, tell, sum(len(stage.charts) for stage in stages)))
    samples = [tell.browsed(sample, stage.record.run.name) for stage in stages for sample in stage.told.browsed]
    return page(
        "report.html.j2",
        [chart for stage in stages for chart in stage.charts],
        samples,
        title=title,
        subtitle=subtitle(records),
        stages=stages,
        tell=tell,
        bounds=bounds,
        browsed=len(samples),
        count=sum(stage.told.count for stage in stages),
    )


def subtitle(records: Sequence[Record]) -> str:
    """With which versions it ran, where that is known already."""
    versions = next((record.summary["versions"] for record in reversed(records) if record.summary), {})
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def page(template: str, charts: Sequence[Chart], samples: Sequence[Mapping[str, Any]], **values: Any) -> str:
    """A template over `base.html.j2`, with everything that it needs within it."""
    drawn = [{"steps": chart.steps, "series": chart.series} for chart in charts]
    return (
        environment()
        .get_template(template)
        .render(
            values,
            styles="\n".join((PAGE / name).read_text(encoding="utf-8") for name in STYLES),
            scripts=["\n" + (PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS],
            data=in_script(to_json({"charts": drawn, "samples": samples})),
        )
    )


@cache
def environment() -> Environment:
    made = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.filters |= {"sha256": digest, "code": with_code}
    return made


def in_script(json: str) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    return json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def digest(script: str) -> str:
    """As a Content-Security-Policy names an inline script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def with_code(text: str) -> Markup:
    """What stands between backticks, as code."""
    parts = (escape(part) for part in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )
