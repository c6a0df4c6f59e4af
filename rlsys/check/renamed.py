"""What keys and methods used to be called, so that an old config is answered with the new name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlsys.config.messages import Problem

METHODS = {
    "preference": "dpo, cdpo, robust_dpo, slic, ipo, orpo or simpo, which the key kind used to choose",
    "rejection": "rft, rest_em or, with keep: best, raft",
    "judge_pairs": "rlaif",
    "revise": "constitutional",
    "prefer": "label_by_reward",
    "hinge": "slic",
    "robust": "robust_dpo",
    "pretrain": "sft with tokens: all",
}
SECTIONS = ("algorithm", "stage")


def new_name(method: str) -> str | None:
    """What the method of this old name is called now."""
    return METHODS.get(method.lower().replace("-", "_"))


def old_sections(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A line for each section that is now `method`."""
    for key in SECTIONS:
        section = data.get(key)
        if section is None:
            continue
        name = section.get("name") if isinstance(section, dict) else None
        changed = {("algorithm", "distill"): "on_policy_distill"}.get((key, name)) if isinstance(name, str) else None
        shown = (
            f"method: {{name: {changed or (new_name(name) if isinstance(name, str) else None) or name or 'NAME'}, ...}}"
        )
        yield Problem((key,), f"is called method now: {shown}", unknown_key=True)
