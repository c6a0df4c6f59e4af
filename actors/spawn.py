"""From a config to roles: the one place that sees both sides."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table

from actors.cluster import connect
from actors.engines.spec import EngineSpec
from actors.group import PolicyGroup, ReferenceGroup
from actors.placement import reserve, strategy
from actors.policy import PolicyActor
from actors.reference import ReferenceActor
from actors.reward import CALLS_PER_ACTOR, RewardActor, RewardHandle
from actors.rollout import RolloutActor, RolloutHandle, environment
from actors.wait import fetch
from actors.weight_sync.sender import SendPlan
from actors.weight_sync.sync import WeightSyncHandle, choose_transport
from rlsys.config.models import Experiment
from rlsys.errors import ConfigError
from rlsys.models.load import local_path
from rlsys.roles import Roles
from rlsys.seating import Plan, plan
from rlsys.spawning import SpawnRequest

MIB = 2**20


@contextmanager
def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    """Connect to Ray, reserve seats, start the actors of the roles that are needed, all at the same time; stop them at the end."""
    connect(experiment.cluster)
    end_on_sigterm()
    use_gpus = ray.cluster_resources().get("GPU", 0.0) > 0
    layout = plan(experiment, request.needs, use_gpus)
    with reserve(layout, experiment.cluster.start_timeout) as bundles:
        crew = Crew(experiment, request, layout, bundles, use_gpus)
        try:
            yield crew.roles()
        finally:
            crew.dismiss()


def end_on_sigterm() -> None:
    """Schedulers end jobs with SIGTERM: do as after ctrl-C, where Ray's own handler would dump a stack and abort."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def interrupt(*_: object) -> None:
    """Not by way of SIGINT, which processes started in a script's background ignore."""
    raise KeyboardInterrupt


class Crew:
    """The actors of one run, and their handles."""

    def __init__(self, experiment: Experiment, request: SpawnRequest, layout: Plan, bundles: PlacementGroup, use_gpus: bool) -> None:
        self.experiment, self.request, self.layout, self.bundles, self.use_gpus = experiment, request, layout, bundles, use_gpus
        self.timeout = experiment.loop.timeout
        self.start_timeout = experiment.cluster.start_timeout
        self.actors: list[Any] = []

    def roles(self) -> Roles:
        """Start all roles side by side: most of a start is importing and loading."""
        makers = {"policy": self.policy, "rollout": self.rollout, "reference": self.reference, "reward": self.reward}
        pool = ThreadPoolExecutor(len(makers))
        try:
            starting = {role: pool.submit(makers[role]) for role in makers if role in self.request.needs}
            started: dict[str, Any] = {role: future.result() for role, future in starting.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # when one fails, or at ctrl-C, dismissing the actors ends the other starts
        if "rollout" in started:
            started["weight_sync"] = self.weight_sync(started["policy"], started["rollout"])
        return Roles(**started)

    def dismiss(self) -> None:
        for actor in self.actors:
            ray.kill(actor)

    def seat(self, role: str, actor_class: type, environment: Mapping[str, str], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """One actor per seat of the role, each with its own arguments."""
        seated = []
        for seat, own in zip(self.layout.seats[role], arguments, strict=True):
            # Ray leaves all GPUs visible to an actor that asked for none.
            hidden = {} if seat.gpus else {"CUDA_VISIBLE_DEVICES": ""}
            options = {
                "num_cpus": seat.cpus,
                "num_gpus": seat.gpus,
                "scheduling_strategy": strategy(self.bundles, seat),
                "runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "false", **environment, **hidden}},
            }
            actor = ray.remote(actor_class).options(**options).remote(*own)
            self.actors.append(actor)
            seated.append(actor)
        return seated

    def policy(self) -> PolicyGroup:
        experiment, config = self.experiment, self.experiment.policy
        common = (experiment.model, config, self.request.model, self.request.optimizer_steps, experiment.seed)
        actors = self.seat("policy", PolicyActor, threads(config.threads), [(*common, rank, self.timeout) for rank in range(config.ranks)])
        group = PolicyGroup(actors, config.tokens_per_micro_batch, self.timeout)
        group.start(self.start_timeout)
        with tempfile.NamedTemporaryFile(dir=experiment.output, prefix=".shared-") as token:
            if not all(group.call("sees", Path(token.name))):
                raise ConfigError(
                    f"output={experiment.output} is not seen by every trainer rank, and checkpoints are written there; choose a folder on "
                    f"storage that all machines share"
                )
        return group

    def reference(self) -> ReferenceGroup:
        experiment, config = self.experiment, self.experiment.reference
        path = local_path(config.path, experiment.output / "playground") if config.path else self.request.model
        actors = self.seat("reference", ReferenceActor, threads(config.threads), [(experiment.model, config, path)] * config.ranks)
        group = ReferenceGroup(actors, config.tokens_per_micro_batch, self.timeout)
        group.start(self.start_timeout)
        return group

    def rollout(self) -> RolloutHandle:
        config, spec = self.experiment.rollout, self.engine_spec()
        actors = self.seat("rollout", RolloutActor, environment(config, self.use_gpus), [(spec,)] * config.engines)
        vocab_sizes = fetch([actor.start.remote() for actor in actors], "the sampling engines to start", self.start_timeout)
        return RolloutHandle(actors, spec, vocab_sizes[0], self.timeout)

    def reward(self) -> RewardHandle:
        config = self.experiment.scoring
        actors = self.seat("reward", RewardActor, threads(1), [(self.experiment.rewards, config.timeout)] * config.actors)
        # The actor gives up on a call before the driver gives up on the actor: a slow reward is an abstention, not the end of the run.
        return RewardHandle(actors, 2 * CALLS_PER_ACTOR * config.timeout)

    def weight_sync(self, policy: PolicyGroup, rollout: RolloutHandle) -> WeightSyncHandle:
        experiment, config = self.experiment, self.experiment.weight_sync
        plan = SendPlan(self.transport, config.bucket_mib * MIB, experiment.rollout.tensor_parallel, self.timeout)
        less_precise = "bfloat16" if "bfloat16" in (experiment.model.dtype, self.sampler_dtype) else "float32"
        return WeightSyncHandle(policy, rollout, config, plan, less_precise, experiment.seed)

    @property
    def sampler_dtype(self) -> str:
        dtype = self.experiment.rollout.dtype
        return self.experiment.model.dtype if dtype == "auto" else dtype

    @property
    def transport(self) -> str:
        """The nodes of the seats are known as soon as the bundles are reserved."""
        nodes = placement_group_table(self.bundles)["bundles_to_node_id"]
        hosts = {nodes[seat.bundle] for role in ("policy", "rollout") for seat in self.layout.seats[role]}
        return choose_transport(self.experiment.weight_sync, self.use_gpus, self.experiment.cluster.colocate, len(hosts) == 1)

    def engine_spec(self) -> EngineSpec:
        experiment = self.experiment
        return EngineSpec(
            model=str(self.request.model),
            dtype=self.sampler_dtype,
            max_model_len=experiment.rollout.max_model_len or experiment.data.max_prompt_tokens + experiment.sampling.max_tokens,
            seed=experiment.seed,
            config=experiment.rollout,
            on_gpu=self.use_gpus,
            sleeps=self.use_gpus and experiment.cluster.colocate,
        )


def threads(count: int) -> dict[str, str]:
    """Set before any library makes its thread pool."""
    return {"OMP_NUM_THREADS": str(count)}
