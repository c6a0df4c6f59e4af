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
LORA = "model.lora"
"""What was the one adapter's section."""
KEYS = {"stage.kind": "method.name", "stage.keep": "method.name"}
"""Keys that chose between what are methods of their own now."""


def new_name(method: str) -> str | None:
    """What the method of this old name is called now."""
    return METHODS.get(method.lower().replace("-", "_"))


def new_key(key: str) -> str | None:
    """`method.clip_high` for `algorithm.clip_high`; None for a key that is in no old section."""
    if key == LORA or key.startswith(f"{LORA}."):
        return key.replace(LORA, "model.adapter", 1)
    section, dot, rest = key.partition(".")
    return KEYS.get(key, f"method{dot}{rest}") if section in SECTIONS else None


def old_sections(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A line for each section that is now `method`, or for each key of one that names no method: such keys were typed
    one by one."""
    yield from _old_adapter(data.get("model"))
    for section in SECTIONS:
        if section not in data:
            continue
        settings = data[section]
        if isinstance(settings, dict) and settings and "name" not in settings:
            for key in settings:
                yield Problem((section, key), f"is called {new_key(f'{section}.{key}')} now", unknown_key=True)
        elif settings is None:
            yield Problem((section,), "is called method now; leave this out", unknown_key=True)
        else:
            name = _method_now(section, settings) if isinstance(settings, dict) else "NAME"
            yield Problem((section,), f"is called method now: method: {{name: {name}, ...}}", unknown_key=True)


def _old_adapter(model: Any) -> Iterator[Problem]:
    if not isinstance(model, dict) or "lora" not in model:
        return
    key, settings = ("model", "lora"), model["lora"]
    if settings is None:
        yield Problem(key, "is called model.adapter now; leave this out", unknown_key=True)
        return
    told = ", ".join(f"{name}: {value}" for name, value in settings.items()) if isinstance(settings, dict) else "..."
    named = f"adapter: {{kind: lora{f', {told}' if told else ''}}}"
    yield Problem(key, f"is called model.adapter now: {named}", unknown_key=True)


def _method_now(section: str, settings: Mapping[str, Any]) -> str:
    name = str(settings.get("name", "NAME"))
    match section, name.lower().replace("-", "_"):
        case "algorithm", "distill":
            return "on_policy_distill"
        case _, "preference":
            kind = str(settings.get("kind", "dpo"))
            return new_name(kind) or kind
        case _, "rejection":
            return "raft" if settings.get("keep") == "best" else "rft"
    return new_name(name) or name
