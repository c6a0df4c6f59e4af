"""Whether the judge is the model that it judges."""

from __future__ import annotations

from pathlib import Path

from rlsys.config.judge import JudgeConfig
from rlsys.models.version import WEIGHTS, fingerprint


def shared_weights(config: JudgeConfig, judge: Path | None, policy: Path) -> str | None:
    """The warning that the judge and the policy are the same weights, where it can be known: a judge prefers its own
    answers (Panickssery et al. 2024, arXiv 2404.13076). `judge`: the folder or hub id of a vLLM judge."""
    advice = "its opinions are not independent of what it judges: take another model for judge.model"
    if config.backend == "rollout":
        return f"judge.backend=rollout: the policy judges itself, with weights that change as it learns; {advice}"
    if judge is not None and _same_weights(judge, policy):
        return f"judge.model={config.model}: the judge starts from the same weights as the policy; {advice}"
    if config.backend == "openai" and Path(config.model).name == policy.name:
        return (
            f"judge.model={config.model}: the endpoint's model has the name of the policy's, and may be the same "
            f"weights; {advice}"
        )
    return None


def _same_weights(one: Path, other: Path) -> bool:
    if one == other:
        return True
    if not (one.is_dir() and other.is_dir()):
        return False
    sizes = [
        sorted((path.name, path.stat().st_size) for pattern in WEIGHTS for path in folder.glob(pattern))
        for folder in (one, other)
    ]
    return sizes[0] == sizes[1] and fingerprint(one, WEIGHTS) == fingerprint(
        other, WEIGHTS
    )  # hashing reads all of them, so sizes come first
