"""The Ray placement group made from a seating plan, and the actors in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.judge import EndpointActor
from rlsys.check.seats import Seat, Seating
from rlsys.errors import ConfigError, WaitTimeout

KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""glibc gives blocks above 32 MiB back to the kernel at each free, and every step would have their pages made anew."""


@contextmanager
def reserve(layout: Seating, timeout: float) -> Iterator[PlacementGroup]:
    """Reserve the plan's bundles on the cluster, packed on as few nodes as can be; given back at the end.

    Raises ConfigError when the cluster can never hold the plan, WaitTimeout when it does not become free within
    `timeout` seconds.
    """
    have = ray.cluster_resources()
    for resource in ("CPU", "GPU"):
        if layout.total(resource) > have.get(resource, 0.0):
            raise ConfigError(
                f"the run needs {layout.total(resource):g} {resource}s and the Ray cluster has "
                f"{have.get(resource, 0.0):g}: add nodes, lower "
                f"the ranks, engines or threads, or let roles share with cluster.colocate=true"
            )
    group = placement_group([dict(bundle) for bundle in layout.bundles], strategy="PACK")
    try:
        if not group.wait(timeout):
            raise WaitTimeout(
                f"waited {timeout:g} s for {layout.total('CPU'):g} CPUs and {layout.total('GPU'):g} GPUs to be free on "
                "the cluster"
            )
        yield group
    finally:
        remove_placement_group(group)


class Seats:
    """Puts actors into the bundles of a plan, and ends them all."""

    def __init__(self, layout: Seating, bundles: PlacementGroup) -> None:
        self.layout, self.bundles = layout, bundles
        self.actors: list[Any] = []

    def fill(
        self, role: str, actor_class: type, environment: Mapping[str, str], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """One actor per seat of the role, each with its own arguments."""
        seats = self.layout.seats[role]
        return [self.put(seat, actor_class, environment, own) for seat, own in zip(seats, arguments, strict=True)]

    def put(self, seat: Seat, actor_class: type, environment: Mapping[str, str], arguments: tuple[Any, ...]) -> Any:
        # Ray leaves all GPUs visible to an actor that asked for none.
        hidden = {} if seat.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        options = {
            "num_cpus": seat.cpus,
            "num_gpus": seat.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                placement_group=self.bundles, placement_group_bundle_index=seat.bundle
            ),
            "max_concurrency": 2 if actor_class is EndpointActor else 1,
            "runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "false", **KEEPS_MEMORY, **environment, **hidden}},
        }
        actor = ray.remote(actor_class).options(**options).remote(*arguments)
        self.actors.append(actor)
        return actor

    def dismiss(self) -> None:
        for actor in self.actors:
            ray.kill(actor)
