"""Who sits where: a pure plan of seats in bundles of CPUs and GPUs.

Separate: every actor has a bundle of its own. Colocated: trainer rank i, engine i and reference i share bundle i, whose CPUs and GPU they use in
turns; a GPU's memory is then shared through the sampler's sleep mode.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlsys.config.models import Experiment


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
        "reward": Demand(experiment.scoring.actors, 1, 0),
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
