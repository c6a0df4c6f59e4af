"""The process in which a reward of the user's own scores samples."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rlsys.config.actors import RewardSpec
from rlsys.errors import ConfigError
from rlsys.rewards.named import Made, as_result, make, source_of
from rlsys.samples import Abstention, Group
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

    def handle(request: tuple[bytes, int]) -> dict[str, Any]:
        content, index = request
        group = unpacked(content)
        result = as_result(made[0].score(group.prompt, group.trajectories[index]))
        if isinstance(result, Abstention):
            return {"abstain": result.reason}
        return {"value": float(result.value), "parts": {key: float(part) for key, part in result.parts.items()}}

    serve(prepare)
    for reward in made:
        reward.close()


@lru_cache(maxsize=1)
def unpacked(content: bytes) -> Group:
    """The samples of a group come one after the other."""
    return pickle.loads(content)


if __name__ == "__main__":
    main()
