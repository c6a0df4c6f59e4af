from __future__ import annotations

from pathlib import Path

import pytest

from rlsys.commands.samples import Choice, samples
from rlsys.errors import ConfigError, RunError
from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Abstention, Prompt, Score, ScoredGroup, Trajectory

ANSWERS = {1: (("Paris, of course", 0.5), ("STRASSE", -1.0)), 2: (("maybe", None), ("Rome\x1b[2J", 0.5), ("Oslo", 1.0))}
"""Text and reward by step; None: it abstained."""


def record(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\n")
    with Ledger(folder / "ledger.sqlite") as ledger:
        for step, answers in ANSWERS.items():
            made = tuple(
                Trajectory(f"{step}/{i}", "p", i, [5, 6], [0, 1], [0.0, -0.5], [UNSAMPLED, 0], "stop", text)
                for i, (text, _) in enumerate(answers)
            )
            results = tuple(Abstention("timeout") if reward is None else Score(reward) for _, reward in answers)
            prompt = Prompt("p", "Which straße?", (5,), answer="Rome")
            ledger.record(step, [ScoredGroup(prompt, made, results)], {}, "train" if step == 1 else "eval")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    record(tmp_path / "run")
    return tmp_path / "run"


def ids(folder: Path, choice: Choice) -> list[str]:
    return [line.partition(":")[0] for line in samples(folder, choice) if ": step " in line]


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(worst=2), ["1/1", "1/0"]),
        (Choice(best=3), ["2/2", "1/0", "2/1"]),
        (Choice(best=9), ["2/2", "1/0", "2/1", "1/1"]),
        (Choice(step=2), ["2/0", "2/1", "2/2"]),
        (Choice(step=2, limit=1), ["2/0"]),
        (Choice(phase="eval", worst=1), ["2/1"]),
        (Choice(search="ROME"), ["2/1"]),
        (Choice(search="which"), ["1/0", "1/1", "2/0", "2/1", "2/2"]),
        (Choice(search="strasse", limit=1), ["1/0"]),
        (Choice(search="%"), None),
    ],
)
def test_the_chosen_samples_in_their_order(run: Path, choice: Choice, found: list[str] | None):
    """Those that abstained have no reward to be best or worst by."""
    if found is None:
        with pytest.raises(RunError, match="no sample with '%'"):
            ids(run, choice)
    else:
        assert ids(run, choice) == found


def test_a_sample_as_people_see_it(run: Path):
    """Control characters do not reach the terminal."""
    assert list(samples(run, Choice(phase="eval", best=2))) == [
        f"=== {run}: the best 2 of 2 samples with a reward of phase eval ===",
        "",
        "2/2: step 2, eval",
        "prompt:",
        "  | Which straße?",
        "its known answer:",
        "  | Rome",
        "response (1 tokens, ended by stop, policy version 0):",
        "  | Oslo",
        "reward: 1",
        "",
        "2/1: step 2, eval",
        "prompt:",
        "  | Which straße?",
        "its known answer:",
        "  | Rome",
        "response (1 tokens, ended by stop, policy version 0):",
        "  | Rome\\x1b[2J",
        "reward: 0.5",
        "",
    ]
    assert "reward: none, abstained: timeout" in samples(run, Choice(step=2))


def test_every_stage_of_a_recipe(tmp_path: Path):
    for stage in ("one", "two"):
        record(tmp_path / "recipe" / stage)
    stages = "".join(f"  - {{name: {name}, config: {name}.yaml}}\n" for name in ("one", "two", "later"))
    (tmp_path / "recipe" / "recipe.yaml").write_text(f"name: recipe\nstages:\n{stages}")
    assert ids(tmp_path / "recipe", Choice(worst=1)) == ["1/1", "1/1"]
    heads = [line for line in samples(tmp_path / "recipe", Choice(step=2, limit=2)) if line.startswith("===")]
    assert heads == [
        f"=== {tmp_path / 'recipe' / stage}: the first 2 of 3 samples of step 2 ===" for stage in ("one", "two")
    ]


def test_what_is_not_there_is_said_with_what_is(run: Path, tmp_path: Path):
    with pytest.raises(RunError) as error:
        list(samples(run, Choice(step=7)))
    assert str(error.value) == f"{run}: no sample of step 7; there are steps 1 to 2, phases eval, train"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text("name: x\n")
    with pytest.raises(RunError, match="no sample of step 7; there are no samples at all"):
        list(samples(tmp_path / "new", Choice(step=7)))
    with pytest.raises(RunError, match="not a run's folder"):
        list(samples(tmp_path / "nowhere", Choice(step=7)))


@pytest.mark.parametrize(
    ("choice", "message"), [({}, "which samples"), ({"worst": 1, "best": 1}, "one of them"), ({"search": " "}, "empty")]
)
def test_a_choice_that_can_not_be_meant(choice: dict[str, int | str], message: str):
    with pytest.raises(ConfigError, match=message):
        Choice(**choice)  # type: ignore[arg-type]
