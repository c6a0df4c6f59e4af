"""The command line in real processes: exit codes, what is on stderr, and that mistakes are cheap."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """\
name: tiny
method:
  name: grpo
  cliphigh: 0.3
model: {path: "playground:0.5m"}
data:
  train: {path: "playground:sort_digits"}
rewards: [{name: exact_match}]
loop: {steps: 3}
cluster: {cpus: 8, gpus: 0}
"""


NO_RUN = (
    "nowhere: not a run's folder (is not a folder); give the folder that `rlsys train` named, such as runs/quickstart\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bad.yaml").write_text(CONFIG)
    (tmp_path / "good.yaml").write_text(CONFIG.replace("  cliphigh: 0.3\n", ""))
    (tmp_path / "eval.yaml").write_text(
        "name: eval\njudge: {model: owner/judge}\ndata: {path: owner/rows}\nattacks: 7\n"
    )
    return tmp_path


def rlsys(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", "from rlsys.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_bad_config_costs_seconds_and_starts_no_ray(folder: Path):
    """The limit is of processor time, so that other work on the machine does not count."""
    code = (
        "import atexit, sys, time\n"
        "heavy = ('ray', 'vllm', 'deepspeed', 'transformers', 'datasets')\n"
        "atexit.register(lambda: print(time.process_time(), [name for name in heavy if name in sys.modules]))\n"
        "from rlsys.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "bad.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "bad.yaml:4: method.cliphigh: unknown key; did you mean clip_high?\n",
    )
    seconds, _, heavy = done.stdout.partition(" ")
    assert float(seconds) < 3
    assert heavy == "[]\n"
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stderr"),
    [
        (["validate", "bad.yaml"], 2, "bad.yaml:4: method.cliphigh: unknown key; did you mean clip_high?\n"),
        (
            ["train", "good.yaml", "policy.ranks=9"],
            2,
            "command line 'policy.ranks=9': policy.ranks: the run needs 11 CPUs (policy 9, rollout 1, reward 1) "
            "and there are 8: lower policy.ranks, "
            "let roles take turns (cluster.colocate=true), or let them share cores (cluster.cpus=11)\n",
        ),
        (["validate", "god.yaml"], 2, "god.yaml: no such file; did you mean good.yaml?\n"),
        (["trace", "train-1/p/0/0", "--run", "nowhere"], 1, NO_RUN),
        (["trace", "--run", "nowhere"], 1, NO_RUN),
        (["trace"], 2, "which sample? give SAMPLE_ID; `rlsys trace --run FOLDER` lists a few of a run or recipe\n"),
        (["report", "nowhere"], 1, NO_RUN),
        (
            ["list", "nowhere"],
            1,
            "nowhere: no such folder; give the one that holds the runs, as in `rlsys list runs`\n",
        ),
        (["compare", "nowhere"], 2, "compare: give two runs or more\n"),
        (
            ["judge-eval", "good.yaml"],
            2,
            "good.yaml: is a config of `rlsys train` (experiment); give one with name, judge and data, as "
            "configs/judge/evaluate.yaml\n",
        ),
        (
            ["train", "eval.yaml"],
            2,
            "eval.yaml: measures a judge and trains nothing; use `rlsys judge-eval eval.yaml`\n",
        ),
        (
            ["judge-eval", "eval.yaml", "attack=3"],
            2,
            "command line 'attack=3': attack: unknown key; did you mean attacks?\n",
        ),
        (
            ["explain", "policy.rank"],
            2,
            "policy.rank: unknown key; did you mean policy.ranks? (`rlsys explain` lists the top level)\n",
        ),
        (["resume", "nowhere"], 1, NO_RUN),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], exit_code: int, stderr: str):
    assert rlsys(folder, *arguments) == (exit_code, "", stderr)


def test_validate_says_what_will_be_needed(folder: Path):
    assert rlsys(folder, "validate", "good.yaml", "policy.ranks=2") == (
        0,
        "OK  tiny: grpo on playground:0.5m, 3 steps; actors: 2 policy, 1 rollout, 1 reward; 4 CPUs and 0 GPUs of "
        "this machine\n"
        "    rows that can be used: data.train 500 of the first 500 as prompt_answer\n",
        "",
    )


def test_validate_tries_the_first_rows(folder: Path):
    """The run's own line, before anything is started."""
    (folder / "own.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    why = (
        "own.jsonl: no usable row among 1 (1 bad; first bad row, 1: no column 'prompt' or 'messages' (there are: "
        "'question', 'answer'); "
    )
    code, out, err = rlsys(folder, "validate", "good.yaml", "data.train.path=own.jsonl")
    assert (code, out, err) == (1, "", f"tiny: data.train: {why}data.*.fields says which column is what)\n")


def test_validate_knows_the_evaluation_of_a_judge(folder: Path):
    told = (
        "OK  eval: owner/judge (vllm) judges owner/rows, 7 attacks\n    not read: data owner/rows (no such file, so "
        "a hub id)\n"
    )
    assert rlsys(folder, "validate", "eval.yaml") == (0, told, "")


def test_a_mistake_in_a_stage_of_a_recipe_names_the_stage_and_its_file(folder: Path):
    (folder / "recipe.yaml").write_text(
        "name: two\nstages:\n  - {name: one, config: good.yaml}\n  - {name: two, config: bad.yaml}\n"
    )
    code, out, err = rlsys(folder, "train", "recipe.yaml")
    assert (code, out, err) == (
        2,
        "",
        "recipe.yaml: stage two: bad.yaml:4: method.cliphigh: unknown key; did you mean clip_high?\n",
    )


def test_explain(folder: Path):
    code, out, _ = rlsys(folder, "explain", "method.clip_high")
    assert code == 0
    assert "    a number above 0; default: 0.2 (cispo 4.0, dapo 0.28, gspo 0.0004)\n" in out


def test_ctrl_c_exits_130_without_a_traceback(folder: Path):
    """A user's own method that gets the signal while it is imported."""
    (folder / "own").mkdir()
    (folder / "own" / "interrupted.py").write_text(
        # A script's background jobs inherit SIGINT as ignored.
        "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nos.kill(os.getpid(), "
        "signal.SIGINT)\n"
    )
    code, _, err = rlsys(folder, "validate", "good.yaml", "method.name=own.interrupted")
    assert code == 130
    assert "Traceback" not in err


def test_help_is_instant(folder: Path):
    before = os.times()
    code, out, _ = rlsys(folder, "--help")
    after = os.times()
    assert code == 0
    assert all(
        command in out
        for command in (
            "train",
            "resume",
            "validate",
            "explain",
            "doctor",
            "trace",
            "report",
            "list",
            "compare",
            "judge-eval",
        )
    )
    assert after.children_user - before.children_user < 1.5  # it imports no torch


def test_choose_names_a_method_and_its_config(folder: Path):
    code, out, err = rlsys(
        folder, "choose", "--data", "labels", "--data", "demonstrations", "--compute", "train", "--need", "safety"
    )
    assert (code, out.splitlines()[0], err) == (0, "KTO: rlsys train configs/kto/labelled.yaml", "")
    assert "or SFT: configs/sft/instructions.yaml" in out
    assert rlsys(folder, "choose", "--all")[1].startswith("| data | need |")
    nothing = rlsys(folder, "choose", "--data", "none", "--compute", "train", "--need", "knowledge")
    assert nothing == (1, "", "nothing fits: knowledge needs --data texts\n")
    code, out, err = rlsys(folder, "choose", "--data", "pear")
    assert (code, out) == (2, "")
    assert err.startswith("--data pear: unknown; did you mean pairs?")
