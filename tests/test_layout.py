"""Promises about the source as a whole. Who may import whom is import-linter's business (`make check`)."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from support import house
from support.house import ROOT

from rlsys import registry
from rlsys.commands.explain import FOLDERS, entries
from rlsys.config import schema
from rlsys.config.judge_eval import JudgeEval
from rlsys.config.recipe import Recipe

SOURCES = sorted([*(ROOT / "rlsys").rglob("*.py"), *(ROOT / "actors").rglob("*.py")])


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for file in SOURCES:
        yield file, ast.parse(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return house.imports()


def keys() -> set[str]:
    return {entry.key for entry in entries()} | {
        name for model in (Recipe, JudgeEval) for name, _ in schema.fields(model)
    }


def test_no_knob_is_dead():
    """Every config field is read (`something.field`) somewhere in the code."""
    read = {
        node.attr
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert sorted(key for key in keys() if key.rpartition(".")[2] not in read) == []


def test_every_knob_is_described():
    assert [name for model in (Recipe, JudgeEval) for name, info in schema.fields(model) if not info.description] == []
    assert [entry.key for entry in entries() if not entry.info.description] == []


@pytest.mark.parametrize(("section", "package", "attribute"), FOLDERS)
def test_each_file_of_a_registry_has_both_a_config_and_its_class(section: str, package: str, attribute: str):
    assert registry.names(package, attribute) == registry.names(package, "Config") != [], section


def test_files_and_functions_stay_readable():
    long_files = [
        f"{file.relative_to(ROOT)}: {lines}" for file in SOURCES if (lines := file.read_text().count("\n")) > 300
    ]
    long_functions = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno > 60
    ]
    assert (long_files, long_functions) == ([], [])


def test_few_modules_stand_outside_a_package():
    assert len(loose := house.loose_modules()) <= 8, loose


def test_no_line_is_longer_than_a_screen():
    assert house.long_lines() == []


def test_nothing_imports_itself_by_way_of_others(graph: grimp.ImportGraph):
    assert house.in_circles(graph) == []


def test_a_circle_would_be_seen():
    circle = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")):
        circle.add_import(importer=importer, imported=imported)
    assert house.in_circles(circle) == ["b", "c"]


def test_how_much_there_is_to_read_of_a_method(graph: grimp.ImportGraph):
    """Raise the number knowingly: it is what somebody opens to read GRPO whole."""
    found = house.to_read(graph, *house.GRPO)
    assert len(found) == 20, "\n".join(found)


def test_what_is_no_code_is_installed_too():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {file for pattern in data["rlsys"] for file in (ROOT / "rlsys").glob(pattern)}
    there = {
        file
        for file in (ROOT / "rlsys").rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    assert there - installed == set()
    assert ROOT / "rlsys/judging/constitutions/default.yaml" in installed
