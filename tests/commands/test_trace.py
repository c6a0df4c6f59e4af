from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlsys.commands.trace import some_ids, trace
from rlsys.errors import RunError
from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Abstention, Prompt, RewardResult, Score, ScoredGroup, Trajectory, Verdict

CHAT = json.dumps(
    [{"role": "system", "content": "You judge."}, {"role": "user", "content": "Which is better?\nA or B?"}]
)
COMPARED = Verdict(
    verdict_id="train-1/p/0/0~1/compare/1",
    kind="compare",
    sample_ids=("train-1/p/0/1", "train-1/p/0/0"),
    principle="kind-words",
    judge="tiny@abc",
    prompt=CHAT,
    reply="",
    log_probs={"A": -0.25, "B": -1.5},
    value=0.7773,
    lengths=(3, 3),
    cached=True,
)


def sample(sample_id: str, index: int, text: str, sampled: bool = True) -> Trajectory:
    version = 4 if sampled else UNSAMPLED
    return Trajectory(
        sample_id,
        "p",
        index,
        [5, 6, 7],
        [0, sampled, sampled],
        [0.0, -0.5, -1.0],
        [UNSAMPLED, version, version],
        "stop",
        text,
    )


def group(samples: list[Trajectory], *results: RewardResult, verdicts: tuple[Verdict, ...] = ()) -> ScoredGroup:
    return ScoredGroup(Prompt("p", "How are you?", (5,), answer="Fine."), tuple(samples), results, verdicts)


def pair(first: str = "yes\nand no") -> ScoredGroup:
    samples = [sample("train-1/p/0/0", 0, first), sample("train-1/p/0/1", 1, "no")]
    return group(samples, Score(0.75, {"judge": 0.75, "gold": 1.0}), Abstention("judge: timeout"), verdicts=(COMPARED,))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "direct"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: direct\n")
    (folder / "metrics.jsonl").write_text(
        '{"step": 0, "time": 1}\n{"step": 1, "time": 2, "train/loss": -0.125, "train/grad_norm": 0.5, '
        '"train/learning_rate": 1e-05}\n'
    )
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.record(1, [pair()], {"train-1/p/0/0": 0.25}, "train")
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Stage `pairs` makes a data set that stage `rm` reads; stage `revise` makes another; all of them are in one
    folder."""
    folder = tmp_path / "runs" / "cai"
    for stage in ("pairs", "revise"):
        (folder / stage).mkdir(parents=True)
        (folder / stage / "config.yaml").write_text("name: x\n")
    stages = "".join(f"  - {{name: {name}, config: {name}.yaml}}\n" for name in ("pairs", "rm", "revise"))
    (folder / "recipe.yaml").write_text(f"name: cai\nstages:\n{stages}")
    data = folder / "pairs" / "dataset.jsonl"
    (folder / "rm.yaml").write_text(
        f"name: rm\nmethod: {{name: reward_model}}\ndata: {{train: {{path: other}}, also: [{{path: {data}}}]}}\n"
    )
    for name, method in (("pairs", "rlaif"), ("revise", "constitutional")):
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nmethod: {{name: {method}}}\ndata: {{train: {{path: prompts.jsonl}}}}\n"
        )
    rows = [
        {"prompt": "?", "chosen_id": "train-1/q/0/0", "rejected_id": "train-1/q/0/1", "step": 1},
        {
            "prompt": "?",
            "chosen_id": "train-1/p/0/0",
            "rejected_id": "train-1/p/0/1",
            "preference": 0.75,
            "principle": "kind-words",
            "step": 1,
        },
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Ledger(folder / "pairs" / "ledger.sqlite") as ledger:
        ledger.record(1, [pair()], {}, "train")
    with Ledger(folder / "revise" / "ledger.sqlite") as ledger:
        question = replace(
            COMPARED, log_probs={}, value=None, sample_ids=("train-1/r/0/0",), lengths=(3,), cached=False
        )
        critique = replace(question, verdict_id="train-1/r/0/0#c1/critique/0", kind="critique", reply="It is rude.")
        revision = replace(question, verdict_id="train-1/r/0/0#r1/revision/0", kind="revision", reply="Yes, please.")
        ledger.record(
            1, [group([sample("train-1/r/0/0", 0, "yes")], Score(0.0), verdicts=(critique, revision))], {}, "train"
        )
        ledger.record(
            1, [group([sample("train-1/r/0/0#r1", 1, "Yes, please.", sampled=False)], Score(1.0))], {}, "beside"
        )
    return folder


def test_the_whole_chain_of_a_sample_that_was_trained_on(run: Path):
    assert list(trace("train-1/p/0/0", run)) == [
        f"sample train-1/p/0/0 of {run}: step 1, train",
        "prompt p, epoch 0:",
        "  | How are you?",
        "its known answer:",
        "  | Fine.",
        "response (2 tokens, ended by stop, policy version 4):",
        "  | yes",
        "  | and no",
        "verdicts: 1",
        "  train-1/p/0/0~1/compare/1: compare, principle kind-words, shown second, beside train-1/p/0/1, by "
        "tiny@abc, from the cache",
        "    log-probs: 'A' -0.2500, 'B' -1.5000",
        "    probability that the one shown first is better: 0.7773",
        "reward: 0.75 (judge 0.75, gold 1)",
        "advantage: 0.25, used in step 1: loss -0.125, gradient norm 0.5, learning rate 1e-05",
    ]


def test_the_judges_chat_is_shown_on_request(run: Path):
    lines = list(trace("train-1/p/0/0", run, chats=True))
    at = lines.index("    system:")
    assert lines[at : at + 5] == [
        "    system:",
        "      | You judge.",
        "    user:",
        "      | Which is better?",
        "      | A or B?",
    ]


def test_a_sample_may_be_learned_from_without_an_advantage(run: Path):
    """As in distillation, with or without a score."""
    with Ledger(run / "ledger.sqlite") as ledger:
        ledger.record(1, [pair()], {"train-1/p/0/1": None}, "train")
    assert "advantage: none, used in step 1: loss -0.125, gradient norm 0.5, learning rate 1e-05" in list(
        trace("train-1/p/0/1", run)
    )
    assert "advantage: none, it trained nothing in this run" in list(trace("train-1/p/0/0", run))


def test_an_abstention_is_told_as_one(run: Path):
    lines = list(trace("train-1/p/0/1", run))
    assert "reward: none, abstained: judge: timeout" in lines
    assert "advantage: none, it trained nothing in this run" in lines
    assert any("shown first, beside train-1/p/0/0" in line for line in lines)


def test_rows_made_of_the_sample_and_the_stages_that_read_them(recipe: Path):
    data = recipe / "pairs" / "dataset.jsonl"
    for name, role in (("train-1/p/0/0", "chosen_id"), ("train-1/p/0/1", "rejected_id")):
        assert list(trace(name, recipe))[-2:] == [
            f"data set: {data}:2: it is {role}, preference 0.7500, principle kind-words",
            "  read by stage rm (reward_model) as data.also.0",
        ]
    # The folder of the stage alone tells the same.
    assert list(trace("train-1/p/0/0", recipe / "pairs")) == list(trace("train-1/p/0/0", recipe))


def test_what_a_model_wrote_does_not_steer_the_terminal(run: Path):
    (run / "ledger.sqlite").unlink()
    with Ledger(run / "ledger.sqlite") as ledger:
        ledger.record(1, [pair("\x1b[2Jgone\r\tétoile")], {}, "train")
    assert "  | \\x1b[2Jgone\\r\tétoile" in list(trace("train-1/p/0/0", run))


def test_a_sample_in_no_row(recipe: Path):
    (recipe / "pairs" / "dataset.jsonl").write_text("")
    assert (
        list(trace("train-1/p/0/0", recipe))[-1]
        == f"data set: no row of {recipe / 'pairs' / 'dataset.jsonl'} is made from it"
    )


def test_a_revision_shows_what_it_revises_and_why(recipe: Path):
    lines = list(trace("train-1/r/0/0#r1", recipe))
    at = lines.index("revises train-1/r/0/0 by principle kind-words, round 1")
    assert lines[at + 1 : at + 9] == [
        "  train-1/r/0/0#c1/critique/0: critique, principle kind-words, by tiny@abc",
        "    reply:",
        "      | It is rude.",
        "  train-1/r/0/0#r1/revision/0: revision, principle kind-words, by tiny@abc",
        "    reply:",
        "      | Yes, please.",
        "response (no policy sampled it):",
        "  | Yes, please.",
    ]


def test_stages_that_have_a_sample_of_one_id_are_told_apart(recipe: Path):
    with Ledger(recipe / "revise" / "ledger.sqlite") as ledger:
        ledger.record(2, [group([sample("train-1/p/0/0", 0, "other")], Score(0.5))], {}, "train")
    lines = list(trace("train-1/p/0/0", recipe))
    first, second = lines.index("=== stage pairs ==="), lines.index("=== stage revise ===")
    assert first == 0
    assert lines[1] == f"sample train-1/p/0/0 of {recipe / 'pairs'}: step 1, train"
    assert lines[second - 1 : second + 2] == [
        "",
        "=== stage revise ===",
        f"sample train-1/p/0/0 of {recipe / 'revise'}: step 2, train",
    ]
    assert not any(line.startswith("===") for line in trace("train-1/p/0/0", recipe / "pairs"))


def test_a_few_ids_to_choose_from(run: Path, recipe: Path):
    assert list(some_ids(recipe)) == [
        f"samples of {recipe / 'pairs'}:",
        "  train: train-1/p/0/0 (the first of 2)",
        f"samples of {recipe / 'revise'}:",
        "  train: train-1/r/0/0 (the first of 1)",
        "  beside: train-1/r/0/0#r1 (the first of 1)",
        f"The story of one: rlsys trace SAMPLE_ID --run {recipe}",
    ]
    (run / "ledger.sqlite").unlink()
    with pytest.raises(RunError, match=f"^{run}: there are no samples at all$"):
        list(some_ids(run))


def test_all_runs_are_searched_and_several_are_an_error(run: Path, recipe: Path):
    root = run.parent
    (root / "notes.txt").write_text("no run")
    assert (
        next(trace("train-1/r/0/0", None, root=root)) == f"sample train-1/r/0/0 of {recipe / 'revise'}: step 1, train"
    )
    with pytest.raises(RunError) as error:
        list(trace("train-1/p/0/0", None, root=root))
    assert str(error.value) == f"train-1/p/0/0: several runs have it ({recipe}, {run}); choose one with --run"


def test_an_unknown_id_is_one_line_with_the_nearest(run: Path, tmp_path: Path):
    with pytest.raises(RunError) as error:
        list(trace("train-1/p/0/7", run))
    text = str(error.value)
    assert text.startswith(f"train-1/p/0/7: no such sample in {run}; the nearest are train-1/p/0/")
    assert "\n" not in text
    with pytest.raises(RunError, match="no runs here; give the folder of one with --run"):
        list(trace("s", None, root=tmp_path / "nothing"))
    with pytest.raises(RunError, match="not a run's folder"):
        list(trace("s", tmp_path))
