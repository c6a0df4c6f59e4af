import sys
from pathlib import Path
from typing import get_args

import pytest

from rlsys.errors import ConfigError, nearest
from rlsys.objectives.preference_loss import PreferenceKind
from rlsys.registry import names, resolve


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package in the current folder, which Python's path does not name."""
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "good.py").write_text("class Reward: ...\ndef brevity(prompt, trajectory): return 1.0\n")
    (package / "broken.py").write_text("def (:\n")
    (package / "hungry.py").write_text("import not_installed_anywhere\n")
    (package / "raising.py").write_text("A = 3\nB = A / 0\n")
    (package / "leaving.py").write_text("import sys; sys.exit(3)\n")
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
    assert names("rlsys.config", "Problem") == ["messages"]  # other files of that folder import it


def test_what_an_entry_is_is_none_and_a_package_may_be_one():
    assert names("rlsys.methods", "MethodConfig") == []  # it stands in `base`
    assert "self_instruct" in names("rlsys.methods", "Method")


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
            "'own_package.hungry' can't be imported: it needs the module 'not_installed_anywhere', which is not "
            "installed",
        ),
        (
            "own_package.raising",
            "'own_package.raising' can't be imported: ZeroDivisionError: division by zero ({own}/raising.py, line 2)",
        ),
        ("own_package.leaving", "'own_package.leaving' can't be imported: SystemExit: 3 ({own}/leaving.py, line 1)"),
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
    ("name", "close"),
    [("DPO", "dpo"), ("KTO", "kto"), ("dr-grpo", "dr_grpo"), ("RLOO", "rloo"), ("reward-modle", "reward_model")],
)
def test_a_method_is_named_however_it_is_written(name: str, close: str):
    with pytest.raises(ConfigError, match=rf"; did you mean {close}\? \(known: "):
        resolve("rlsys.methods", name, "Method")


@pytest.mark.parametrize(
    "name", [*get_args(PreferenceKind), *("rft", "raft", "rest_em", "kto", "spin", "self_instruct")]
)
def test_a_method_is_called_by_its_own_name(name: str):
    """Each preference loss and each way to keep samples is a file of its own, and is what it is called."""
    config = resolve("rlsys.methods", name, "Config")(name=name)
    assert config.facts.rows
    assert resolve("rlsys.methods", name, "Method").__module__.startswith("rlsys.methods.")


@pytest.mark.parametrize("name", names("rlsys.methods", "Method"))
def test_a_methods_config_names_it(name: str):
    """By default, also where other keys have none."""
    assert resolve("rlsys.methods", name, "Config").model_fields["name"].default == name
