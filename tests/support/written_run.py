"""Folders of runs as `rlsys train` leaves them, written by hand: every number in them is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsys.check.recipe import load_stage
from rlsys.config.document import save
from rlsys.run.folder import RunDir
from rlsys.run.ledger import Ledger
from rlsys.samples import UNSAMPLED, Abstention, Prompt, RewardResult, Score, ScoredGroup, Trajectory
from support.command_line import CONFIGS

HOSTILE = (
    "</script><script>alert('taken')</script><img src=http://127.0.0.1:9/x onerror=alert(2)>\u2028\u202e &amp; <!--"
)


def write_run(folder: Path, rewards: Sequence[float], *settings: str) -> RunDir:
    """A finished run of GRPO with a step for each of `rewards`, which is its mean reward. Held-out accuracy went from
    0.25 to 0.75."""
    run = RunDir(folder)
    folder.mkdir(parents=True)
    own = ["model.path=playground:0.5m", f"output={folder.parent}", f"loop.steps={len(rewards)}", *settings]
    experiment = load_stage(CONFIGS / "quickstart.yaml", "grpo", own, this_machine=False)
    save(experiment.model_copy(update={"name": folder.name}), run.config)
    lines: list[dict[str, Any]] = [{"step": 0, "time": 0.0, "eval/accuracy_sampled": 0.25}]
    lines += [
        {
            "step": step,
            "time": float(step),
            "reward/mean": reward,
            "rollout/samples": 2.0,
            "rollout/tokens": 10.0,
            "time/collect": 1.0,
            "time/learn": 3.0,
            "time/step": 4.0,
        }
        for step, reward in enumerate(rewards, start=1)
    ]
    lines[-1]["eval/accuracy_sampled"] = 0.75
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.write_summary(
        {
            "run": str(folder),
            "steps": len(rewards),
            "best_step": None,
            "done": None,
            "samples": 2 * len(rewards),
            "tokens": 10 * len(rewards),
            "counts": {},
            "data": [],
            "mixture": None,
            "judge": None,
            "before": {"eval/accuracy_sampled": 0.25},
            "after": {"eval/accuracy_sampled": 0.75},
            "versions": {"rlsys": "0.1.0"},
            "train_seconds": 4.0 * len(rewards),
            "wall_seconds": 20.0,
            "notes": ["step 1: a sampler got a successor"],
            "warnings": [],
        }
    )
    return run


def write_samples(run: RunDir, step: int, phase: str, given: Sequence[tuple[str, str, RewardResult, float | None]]):
    """Of a step: sample id, response, reward and advantage of each; each of its own prompt, `prompt of ID`."""
    groups, advantages = [], {}
    for name, response, result, advantage in given:
        sample = Trajectory(name, name, 0, [5, 6, 7], [0, 1, 1], [0.0, -1.0, -1.0], [UNSAMPLED, 0, 0], "stop", response)
        groups.append(ScoredGroup(Prompt(name, f"prompt of {name}", (5,), "42"), (sample,), (result,)))
        if advantage is not None:
            advantages[name] = advantage
    with Ledger(run.ledger) as ledger:
        ledger.record(step, groups, advantages, phase)


def write_story(run: RunDir) -> None:
    """Into the ledger: three held-out prompts at steps 0 and 2, of which one got better and one worse; a step of
    training with advantages -2 and 1; two abstentions; a fault; and hostile text in all of it."""
    for step, scores in ((0, (0.0, 1.0, 0.5)), (2, (1.0, 0.0, 0.5))):
        held_out = [
            (f"eval-greedy-{step}/p{i}", f"held {step}.{i}", Score(score), None) for i, score in enumerate(scores)
        ]
        write_samples(run, step, "eval", held_out)
    reason = f"timeout {HOSTILE}"
    trained = [
        ("train-2/a", f"bad {HOSTILE}", Score(0.0, {"exact_match": 0.0}), -2.0),
        ("train-2/b", "good", Score(1.0, {"exact_match": 1.0}), 1.0),
        ("train-2/c", "slow", Abstention(reason), None),
        ("train-2/d", "slower", Abstention(reason), None),
    ]
    write_samples(run, 2, "train", trained)
    with Ledger(run.ledger) as ledger:
        ledger.record_fault(2, 1, f"actor died {HOSTILE}")
