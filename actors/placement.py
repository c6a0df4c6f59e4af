"""The Ray placement group made from a seating plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlsys.check.seats import Seat, Seating
from rlsys.errors import ConfigError, WaitTimeout


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


def strategy(group: PlacementGroup, seat: Seat) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=seat.bundle)
