"""How the source is laid out, in numbers: `python tests/support/house.py` prints them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rlsys", "actors")
COLUMNS = 120
GRPO = "rlsys.methods.grpo", ("rlsys.methods", "rlsys.objectives")
"""A method to read whole, and the packages that hold what is said of methods."""


def loose_modules() -> list[str]:
    """Modules of rlsys that are in no package of it."""
    return sorted(file.stem for file in (ROOT / "rlsys").glob("*.py") if file.stem != "__init__")


def long_lines() -> list[str]:
    """Lines of the packages above `COLUMNS`, as FILE:LINE."""
    return [
        f"{file.relative_to(ROOT)}:{number}"
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > COLUMNS
    ]


def imports() -> grimp.ImportGraph:
    """Who of the packages imports whom, those within functions and for type checkers included."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def in_circles(graph: grimp.ImportGraph) -> list[str]:
    """Modules that import themselves, directly or by way of others."""
    return sorted(
        module
        for module in graph.modules
        if any(graph.chain_exists(one, module) for one in graph.find_modules_directly_imported_by(module))
    )


def to_read(graph: grimp.ImportGraph, module: str, within: Sequence[str]) -> list[str]:
    """What somebody opens who reads a module whole: it, what it imports of the packages `within`, what that imports of
    them, and so on."""
    found, new = {module}, {module}
    while new:
        imported = {one for module in new for one in graph.find_modules_directly_imported_by(module)}
        new = {one for one in imported - found if one.startswith(tuple(f"{package}." for package in within))}
        found |= new
    return sorted(found)


def main() -> None:
    graph = imports()
    for what, found in (
        ("loose modules of rlsys", loose_modules()),
        ("modules in a circle of imports", in_circles(graph)),
        (f"lines above {COLUMNS} columns", long_lines()),
        (f"files to read {GRPO[0]} whole, of {' and '.join(GRPO[1])}", to_read(graph, *GRPO)),
    ):
        sys.stdout.write(f"{len(found):4}  {what}\n" + "".join(f"        {one}\n" for one in found))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # this copy of rlsys, wherever another one is installed
    main()
