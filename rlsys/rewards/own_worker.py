"""The process in which a reward of the user's own scores samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsys.config.actors import RewardSpec
from rlsys.errors import ConfigError
from rlsys.rewards.named import Made, as_result, make, source_of
from rlsys.samples import Abstention, Prompt, Trajectory
from rlsys.workers.serve import Handle, serve


def main() -> None:
    made: list[Made] = []

    def prepare(arguments: Sequence[str]) -> Handle:
        spec = RewardSpec.model_validate_json(arguments[0])
        source = source_of(spec, spec.name)
        if (source.sha256 or "") != arguments[1]:
            raise ConfigError(f"reward {spec.name!r}: {source.file} was changed while the run goes on; start it anew")
        made.append(make(spec))
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
