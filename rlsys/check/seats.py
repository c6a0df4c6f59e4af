"""Who sits where: a pure plan of seats in bundles of CPUs and GPUs.

Separate: every actor has a bundle of its own. Colocated: trainer rank i, engine i, critic i, ... share bundle i, whose
CPUs and GPU they share. The sampler gives its memory back while the others work (sleep mode); the others stay in memory
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlsys.config.actors import RewardModelConfig
from rlsys.config.experiment import Experiment
from rlsys.models.adapters.base import AdapterConfig


@dataclass(frozen=True, slots=True)
class Seat:
    """An actor's share of one bundle."""

    bundle: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Seating:
    bundles: tuple[dict[str, float], ...]
    seats: dict[str, tuple[Seat, ...]]
    """By role; reward models have names of their own (`reward_seats`)."""

    def total(self, resource: str) -> float:
        return sum(bundle.get(resource, 0.0) for bundle in self.bundles)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one role asks for: `actors` processes with `cpus` and `gpus` each."""

    actors: int
    cpus: int
    gpus: int


def shares_reference(experiment: Experiment, needs: frozenset[str]) -> bool:
    """Whether the reference is the policy with its adapter switched off, so that none is loaded: they begin with the
    same model, and training leaves its weights alone."""
    reference, model = experiment.reference, experiment.model
    return (
        needs >= {"policy", "reference"}
        and reference.share == "auto"
        and (reference.path is None or _same(reference.path, model.path))
        and isinstance(model.adapter, AdapterConfig)
        and model.adapter.keeps_base
    )


def told_of_reference(experiment: Experiment) -> str | None:
    """What people are told of the reference of a policy with an adapter; None where there is nothing to tell."""
    needs, adapter = experiment.method.facts.needs, experiment.model.adapter
    if not needs >= {"policy", "reference"} or not isinstance(adapter, AdapterConfig):
        return None
    if shares_reference(experiment, needs):
        return "the reference is the policy with its adapter switched off: no second copy is loaded"
    why = "" if adapter.keeps_base else f": {adapter.kind} here trains weights of the base"
    return f"the reference is a model of its own{why}"


def _same(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def demands(experiment: Experiment, needs: frozenset[str], use_gpus: bool) -> dict[str, Demand]:
    """What each needed role asks for. Rule rewards run on CPU only; a reference that is the policy asks for nothing."""
    gpu = int(use_gpus)
    trainer = Demand(experiment.policy.ranks, experiment.policy.threads, gpu)
    everything = {
        "policy": trainer,
        "reward_model": trainer,
        "critic": Demand(experiment.critic.ranks, experiment.critic.threads, gpu),
        "rollout": Demand(
            experiment.rollout.engines, experiment.rollout.threads, gpu * experiment.rollout.tensor_parallel
        ),
        "reference": Demand(experiment.reference.ranks, experiment.reference.threads, gpu),
    }
    if experiment.teacher is not None:
        everything["teacher"] = Demand(experiment.teacher.ranks, experiment.teacher.threads, gpu)
    own = needs - ({"reference"} if shares_reference(experiment, needs) else set())
    wanted = {role: demand for role, demand in everything.items() if role in own}
    if judges(experiment, needs) and (judge := experiment.judge) is not None and judge.backend != "rollout":
        asked = Demand(judge.engine.engines, judge.engine.threads, gpu * judge.engine.tensor_parallel)
        wanted["judge"] = asked if judge.backend == "vllm" else Demand(1, 1, 0)
    if "reward" in needs:
        wanted |= {"reward": Demand(experiment.scoring.actors, 1, 0)} if experiment.rewards else {}
        wanted |= {
            seat: Demand(first.ranks, first.threads, gpu) for seat, (first, *_) in reward_seats(experiment).items()
        }
    return wanted


def judges(experiment: Experiment, needs: frozenset[str]) -> bool:
    """Whether the run asks a judge: its method does, or its reward."""
    return "judge" in needs or (
        "reward" in needs and experiment.judge is not None and experiment.judge.reward is not None
    )


def reward_seats(experiment: Experiment) -> dict[str, list[RewardModelConfig]]:
    """The scoring reward models by the name of their seats: adapters over one base share these."""
    found: dict[str, list[RewardModelConfig]] = {}
    for config in experiment.reward_models:
        found.setdefault(f"reward {config.name}" if config.base is None else f"rewards on {config.base}", []).append(
            config
        )
    return found


def seating(experiment: Experiment, needs: frozenset[str], use_gpus: bool) -> Seating:
    """Lay out the actors; pure."""
    wanted = demands(experiment, needs, use_gpus)
    return colocated(wanted) if experiment.cluster.colocate else separate(wanted)


def separate(wanted: dict[str, Demand]) -> Seating:
    bundles: list[dict[str, float]] = []
    seats: dict[str, tuple[Seat, ...]] = {}
    for role, demand in wanted.items():
        first = len(bundles)
        bundles += [bundle(demand.cpus, demand.gpus)] * demand.actors
        seats[role] = tuple(Seat(first + i, demand.cpus, demand.gpus) for i in range(demand.actors))
    return Seating(tuple(bundles), seats)


def colocated(wanted: dict[str, Demand]) -> Seating:
    count = max((demand.actors for demand in wanted.values()), default=0)  # some methods need no actor
    sharers = [[role for role, demand in wanted.items() if i < demand.actors] for i in range(count)]
    cpus = [max(wanted[role].cpus for role in roles) for roles in sharers]
    gpus = [max(wanted[role].gpus for role in roles) for roles in sharers]
    on_gpu = [sum(wanted[role].gpus > 0 for role in roles) for roles in sharers]
    # Ray keeps four decimals of a share; rounding down leaves room for all sharers.
    seats = {
        role: tuple(
            Seat(
                i,
                int(1e4 * cpus[i] / len(sharers[i])) / 1e4,
                int(1e4 * gpus[i] / on_gpu[i]) / 1e4 if demand.gpus else 0.0,
            )
            for i in range(demand.actors)
        )
        for role, demand in wanted.items()
    }
    return Seating(tuple(bundle(c, g) for c, g in zip(cpus, gpus, strict=True)), seats)


def bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})
