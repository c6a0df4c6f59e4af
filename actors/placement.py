"""Who sits where: a pure plan of seats in bundles, and the Ray placement group made from it.

Separate: every actor has a bundle of its own. Colocated: trainer rank i, engine i and reference i share bundle i, whose CPUs and GPU they use in
turns; a GPU's memory is then shared through the sampler's sleep mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlsys.config.models import Experiment
from rlsys.errors import ConfigError, WaitTimeout


@dataclass(frozen=True, slots=True)
class Seat:
    """An actor's share of one bundle."""

    bundle: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Plan:
    bundles: tuple[dict[str, float], ...]
    seats: dict[str, tuple[Seat, ...]]
    """By role: policy, reference, rollout, reward."""

    def total(self, resource: str) -> float:
        return sum(bundle.get(resource, 0.0) for bundle in self.bundles)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one role asks for: `actors` processes with `cpus` and `gpus` each."""

    actors: int
    cpus: int
    gpus: int


def demands(experiment: Experiment, needs: frozenset[str], use_gpus: bool) -> dict[str, Demand]:
    """What each needed role asks for. The reward runs on CPU only."""
    gpu = int(use_gpus)
    everything = {
        "policy": Demand(experiment.policy.ranks, experiment.policy.threads, gpu),
        "rollout": Demand(experiment.rollout.engines, experiment.rollout.threads, gpu * experiment.rollout.tensor_parallel),
        "reference": Demand(experiment.reference.ranks, experiment.reference.threads, gpu),
        "reward": Demand(1, 1, 0),
    }
    return {role: demand for role, demand in everything.items() if role in needs}


def plan(experiment: Experiment, needs: frozenset[str], use_gpus: bool) -> Plan:
    """Lay out the actors; pure."""
    wanted = demands(experiment, needs, use_gpus)
    return colocated(wanted) if experiment.cluster.colocate else separate(wanted)


def separate(wanted: dict[str, Demand]) -> Plan:
    bundles: list[dict[str, float]] = []
    seats: dict[str, tuple[Seat, ...]] = {}
    for role, demand in wanted.items():
        first = len(bundles)
        bundles += [bundle(demand.cpus, demand.gpus)] * demand.actors
        seats[role] = tuple(Seat(first + i, demand.cpus, demand.gpus) for i in range(demand.actors))
    return Plan(tuple(bundles), seats)


def colocated(wanted: dict[str, Demand]) -> Plan:
    count = max(demand.actors for demand in wanted.values())
    sharers = [[role for role, demand in wanted.items() if i < demand.actors] for i in range(count)]
    cpus = [max(wanted[role].cpus for role in roles) for roles in sharers]
    gpus = [max(wanted[role].gpus for role in roles) for roles in sharers]
    on_gpu = [sum(wanted[role].gpus > 0 for role in roles) for roles in sharers]
    # Ray keeps four decimals of a share; rounding down leaves room for all sharers.
    seats = {
        role: tuple(
            Seat(i, int(1e4 * cpus[i] / len(sharers[i])) / 1e4, int(1e4 * gpus[i] / on_gpu[i]) / 1e4 if demand.gpus else 0.0)
            for i in range(demand.actors)
        )
        for role, demand in wanted.items()
    }
    return Plan(tuple(bundle(c, g) for c, g in zip(cpus, gpus, strict=True)), seats)


def bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})


@contextmanager
def reserve(layout: Plan, timeout: float) -> Iterator[PlacementGroup]:
    """Reserve the plan's bundles on the cluster, packed on as few nodes as can be; given back at the end.

    Raises ConfigError when the cluster can never hold the plan, WaitTimeout when it does not become free within `timeout` seconds.
    """
    have = ray.cluster_resources()
    for resource in ("CPU", "GPU"):
        if layout.total(resource) > have.get(resource, 0.0):
            raise ConfigError(
                f"the run needs {layout.total(resource):g} {resource}s and the Ray cluster has {have.get(resource, 0.0):g}: add nodes, lower "
                f"the ranks, engines or threads, or let roles share with cluster.colocate=true"
            )
    group = placement_group([dict(bundle) for bundle in layout.bundles], strategy="PACK")
    try:
        if not group.wait(timeout):
            raise WaitTimeout(
                f"waited {timeout:g} s for {layout.total('CPU'):g} CPUs and {layout.total('GPU'):g} GPUs to be free on the cluster"
            )
        yield group
    finally:
        remove_placement_group(group)


def strategy(group: PlacementGroup, seat: Seat) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=seat.bundle)
