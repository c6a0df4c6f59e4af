"""Prompts of Self-Instruct: each few-shot, in the words of `templates.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import yaml

from rlsys.data.tasks import Task

NONE = "(none)"
"""What stands for the input of a task that needs none."""
FILE = Path(__file__).with_name("templates.yaml")


@cache
def templates() -> dict[str, str]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def ask_for_instructions(known: Sequence[str], count: int) -> str:
    """A numbered list of known instructions, to be continued by `count` more."""
    tasks = "\n".join(f"{number}. {' '.join(text.split())}" for number, text in enumerate(known, start=1))
    return _filled("instructions", tasks=tasks, next=str(len(known) + 1), count=str(count))


def ask_for_kind(instruction: str, examples: Sequence[Task]) -> str:
    """Whether the answer is one of a few labels: `yes` or `no`."""
    shown = [
        _filled("kind_example", instruction=task.instruction, answer="yes" if task.is_classification else "no")
        for task in examples
    ]
    return _filled("kind", examples="\n\n".join(shown), instruction=instruction)


def ask_for_instances(instruction: str, is_classification: bool, examples: Sequence[Task], count: int) -> str:
    """Instances of a task: the label first for a classification, else the input first."""
    shown = "\n\n".join(_shown(task, is_classification, count) for task in examples)
    name = "label" if is_classification else "free"
    return _filled(name, examples=shown, instruction=instruction, count=str(count), none=NONE)


def _shown(task: Task, output_first: bool, count: int) -> str:
    lines = [f"Task: {task.instruction}"]
    for number, instance in enumerate(task.instances[:count], start=1):
        fields = [f"Input {number}: {instance.input or NONE}", f"Output {number}: {instance.output}"]
        lines += reversed(fields) if output_first else fields
    return "\n".join(lines)


def _filled(name: str, **parts: str) -> str:
    """Without the blank lines that an empty list of examples leaves."""
    text = templates()[name].format(**parts)
    return text.replace("\n\n\n\n", "\n\n")
