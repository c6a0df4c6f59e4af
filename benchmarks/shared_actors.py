"""Many runs over actors that are started once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rlsys.config.experiment import Experiment
from rlsys.roles import Roles, Spawn, SpawnRequest

ROLES = ("policy", "reference", "rollout", "reward")


def sharing(roles: Roles, start: Path) -> Spawn:
    """A `Spawn` that starts nothing: it puts policy and sampler back to where they are now (weights, optimizer,
    schedule, random states; kept in the folder `start`), and hands out the roles that a run needs. So each run is the
    one that it would be by itself. One that trains what it samples from must be the last: a sampler takes no older
    version.
    """
    assert roles.policy is not None
    roles.policy.save_state(start)

    @contextmanager
    def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
        assert roles.policy is not None
        roles.policy.load_state(start)
        if roles.weight_sync is not None and "rollout" in request.needs:
            roles.weight_sync.sync(0)  # a run that trains nothing would not
        unused = {role: None for role in ROLES if role not in request.needs}
        synced = roles.weight_sync if request.needs >= {"policy", "rollout"} else None
        yield replace(roles, **unused, weight_sync=synced)

    return spawn
