"""The process in which a reward of the user's own scores samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.config.actors import RewardSpec
from rlsys.rewards.named import Made, as_result, make
from rlsys.samples import Abstention, Prompt, Trajectory
from rlsys.workers.serve import Handle, serve


def main() -> None:
    made: list[Made] = []

    def prepare(arguments: Sequence[str]) -> Handle:
        made.append(make(RewardSpec.model_validate_json(arguments[0])))
        return handle

    def handle(sample: tuple[Prompt, Trajectory]) -> dict[str, Any]:
        result = as_result(made[0].score(*sample))
        if isinstance(result, Abstention):
            return {"abstain": result.reason}
        return {"value": float(result.value), "parts": {key: float(part) for key, part in result.parts.items()}}

    serve(prepare)
    for reward in made:
        reward.close()


if __name__ == "__main__":
    main()
