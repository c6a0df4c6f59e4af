import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from rlsys.errors import ConfigError, nearest
from rlsys.objectives.preference_loss import PreferenceKind
from rlsys.registry import ELSEWHERE, PREFERENCES, names, resolve


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package in the current folder, which Python's path does not name."""
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "good.py").write_text("class Reward: ...\ndef brevity(prompt, trajectory): return 1.0\n")
    (package / "broken.py").write_text("def (:\n")
    (package / "hungry.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    return package


def test_a_name_is_a_file_of_the_folder():
    from rlsys.methods import grpo

    assert resolve("rlsys.methods", "grpo", "Method") is grpo.Method
    assert resolve("rlsys.methods", "grpo", "Config") is grpo.Config


def test_files_that_only_import_the_attribute_are_no_names():
    assert "grpo" in names("rlsys.methods", "Method")
    assert names("rlsys.config", "Model") == ["base"]  # the other files of that folder import it


def test_a_dotted_name_is_found_in_the_current_folder_and_may_end_in_a_function(own: Path):
    assert resolve("rlsys.rewards", "own_package.good", "Reward").__name__ == "Reward"
    assert resolve("rlsys.rewards", "own_package.good.brevity", "Reward")(None, None) == 1.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grop", "'grop' is not a file of rlsys.methods that defines Method; did you mean grpo? (known: "),
        ("own_package.goood", "'own_package.goood': module own_package ("),
        ("no_package.good", "'no_package.good': no such module on Python's path or in "),
        ("own_package.good", "'own_package.good' ({own}/good.py) does not define Method"),
        (
            "own_package.good.brevty",
            "'own_package.good.brevty': module own_package.good ({own}/good.py) has no brevty; did you mean brevity?",
        ),
        ("own_package.broken", "'own_package.broken' can't be imported: SyntaxError: invalid syntax"),
        (
            "own_package.hungry",
            "'own_package.hungry' can't be imported: it needs the module 'not_installed_anywhere', which is not installed",
        ),
        (".x", "'.x' is not a dotted name, as in my_package.my_module"),
        ("x.", "'x.' is not a dotted name, as in my_package.my_module"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_remedy(own: Path, name: str, message: str):
    with pytest.raises(ConfigError) as error:
        resolve("rlsys.methods", name, "Method")
    assert str(error.value).startswith(message.replace("{own}", str(own)))
    assert "\n" not in str(error.value)


def test_the_current_folder_hides_no_library(own: Path):
    (own.parent / "torch").mkdir()
    (own.parent / "torch" / "__init__.py").write_text("raise AssertionError\n")
    resolve("rlsys.rewards", "own_package.good", "Reward")
    assert sys.path[-1] == str(own.parent)


@pytest.mark.parametrize(
    ("word", "close"),
    [("cliphigh", "clip_high"), ("Clip-High", "clip_high"), ("clip_hihg", "clip_high"), ("temperature", None)],
)
def test_nearest(word: str, close: str | None):
    assert nearest(word, ["clip_low", "clip_high", "name"]) == close


@pytest.mark.parametrize(
    ("package", "name", "hint"),
    [
        ("rlsys.methods", "dpo", "; it is stage: {name: dpo} (known:"),
        ("rlsys.methods", "DPO", "; it is stage: {name: dpo} (known:"),
        ("rlsys.methods", "kto", "; it is stage: {name: kto} (known:"),
        ("rlsys.methods", "spin", "; it is algorithm: {name: spin} (known:"),
        ("rlsys.methods", "grop", "; did you mean grpo? (known:"),
    ],
)
def test_a_method_that_stands_elsewhere_is_named(package: str, name: str, hint: str):
    with pytest.raises(ConfigError) as error:
        resolve(package, name, "Method")
    assert hint in str(error.value)


def test_every_preference_loss_is_named():
    assert get_args(PreferenceKind) == PREFERENCES


@pytest.mark.parametrize("settings", ELSEWHERE.values())
def test_what_stands_elsewhere_does(settings: str):
    given = yaml.safe_load(settings)["stage"]
    config = resolve("rlsys.methods", given["name"], "Config").model_validate(given)
    assert given.items() <= config.model_dump().items()
