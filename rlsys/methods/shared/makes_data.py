"""What methods share that make a data set of sampled answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rlsys.config.sampling import SamplingConfig
from rlsys.methods.base import Experience, Learned, MethodConfig, Step
from rlsys.roles import Roles
from rlsys.samples import Prompt, Trajectory

ConfigT = TypeVar("ConfigT", bound=MethodConfig)


@dataclass(frozen=True)
class MakesData(Generic[ConfigT]):
    """A `Method` that trains nothing: its rows are what `collect` returns as `Experience.rows`."""

    config: ConfigT
    sampling: SamplingConfig
    pad_id: int

    def learn(self, roles: Roles, experience: Experience, step: Step) -> Learned:
        return Learned({})


def counted(counts: dict[str, int], names: tuple[str, ...]) -> dict[str, float]:
    """Metrics that the loop sums over the run: what became of the prompts, or rounds, by name."""
    return {f"dataset/{name}": float(counts.get(name, 0)) for name in names}


def prompt_columns(prompt: Prompt) -> dict[str, Any]:
    """What every row says of its prompt: `prompt`, a text or messages, and `prompt_id`."""
    return {
        "prompt": prompt.asked if isinstance(prompt.asked, str) else list(prompt.asked),
        "prompt_id": prompt.prompt_id,
    }


def different_texts(samples: Sequence[Trajectory]) -> list[Trajectory] | Literal["empty", "equal_texts"]:
    """Samples that have text, the first of each text; or, where fewer than two are left, why."""
    texts = [sample for sample in samples if sample.text.strip()]
    first = {sample.text: sample for sample in reversed(texts)}
    if len(texts) < 2:
        return "empty"
    return [sample for sample in texts if first[sample.text] is sample] if len(first) > 1 else "equal_texts"
