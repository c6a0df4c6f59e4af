"""From a config to roles: the one place that sees both sides."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table

from actors.cluster import connect
from actors.engines.spec import EngineSpec
from actors.fleet import Fleet
from actors.group import CriticGroup, PolicyGroup, SharedReference, TrainerGroup
from actors.placement import Seats, reserve
from actors.reward import CALLS_PER_ACTOR, RewardActor, RewardHandle
from actors.rollout import RolloutActor, RolloutHandle, environment
from actors.spawn_frozen import FrozenStarter
from actors.spawn_judge import JudgeStarter
from actors.trainer import TrainerActor
from actors.wait import fetch
from actors.weight_sync.sender import SendPlan
from actors.weight_sync.sync import WeightSyncHandle, choose_content, choose_transport
from rlsys.check.seats import Seating, judges, seating, shares_reference
from rlsys.config.actors import PolicyConfig
from rlsys.config.experiment import Experiment
from rlsys.config.paths import critic_path
from rlsys.errors import ConfigError
from rlsys.judging.asking.judge import ModelJudge
from rlsys.models.load import local_path
from rlsys.rewards.with_judge import GROUPS_PER_CALL, WithJudge
from rlsys.rewards.with_models import WithModels
from rlsys.roles import Reward, Roles, SpawnRequest
from rlsys.side_by_side import side_by_side

MIB = 2**20
GroupT = TypeVar("GroupT", bound=TrainerGroup)


@contextmanager
def spawn(experiment: Experiment, request: SpawnRequest) -> Iterator[Roles]:
    """Connect to Ray, reserve seats, start the actors of the roles that are needed, all at the same time; stop them at
    the end."""
    connect(experiment.cluster)
    end_on_sigterm()
    use_gpus = ray.cluster_resources().get("GPU", 0.0) > 0
    layout = seating(experiment, request.needs, use_gpus)
    with reserve(layout, experiment.cluster.start_timeout) as bundles:
        crew = Crew(experiment, request, layout, bundles, use_gpus)
        try:
            yield crew.roles()
        finally:
            crew.seats.dismiss()


def end_on_sigterm() -> None:
    """Schedulers end jobs with SIGTERM: do as after ctrl-C, where Ray's own handler would dump a stack and abort."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def interrupt(*_: object) -> None:
    """Not by way of SIGINT, which processes started in a script's background ignore."""
    raise KeyboardInterrupt


class Crew:
    """The actors of one run, and their handles."""

    def __init__(
        self, experiment: Experiment, request: SpawnRequest, layout: Seating, bundles: PlacementGroup, use_gpus: bool
    ) -> None:
        self.experiment, self.request, self.layout, self.bundles, self.use_gpus = (
            experiment,
            request,
            layout,
            bundles,
            use_gpus,
        )
        self.timeout = experiment.loop.timeout
        self.start_timeout = experiment.cluster.start_timeout
        self.seats = Seats(layout, bundles)
        self.mended: list[str] = []
        """What was done about actors that died; the loop reads it."""
        self.frozen = FrozenStarter(experiment, request.model, self.path, self.seats.fill)

    def roles(self) -> Roles:
        """Start all roles side by side: most of a start is importing and loading."""
        makers = {
            "policy": self.policy,
            "critic": self.critic,
            "reward_model": self.reward_model,
            "rollout": self.rollout,
            "reference": self.frozen.reference,
            "teacher": self.frozen.teacher,
            "reward": self.reward,
            "judge": self.judge,
        }
        # When one fails, or at ctrl-C, dismissing the actors ends the other starts.
        judge = self.experiment.judge if judges(self.experiment, self.request.needs) else None
        # The policy as its own judge, and a judge on the sampler's GPU, take turns with the sampler: the judge comes
        # when the sampler rests.
        turns = judge and (
            judge.backend == "rollout"
            or (judge.backend == "vllm" and self.use_gpus and self.experiment.cluster.colocate)
        )
        shared = shares_reference(self.experiment, self.request.needs)
        wanted = (self.request.needs - {"judge"}) | ({"judge"} if judge and not turns else set())
        wanted -= {"reference"} if shared else set()
        started = side_by_side({role: make for role, make in makers.items() if role in wanted})
        if shared:
            started["reference"] = SharedReference(started["policy"], self.request.model)
        if judge and turns:
            started["judge"] = self.judge(started.get("rollout"))
        if judge and judge.reward:
            at_once = sys.maxsize if turns else GROUPS_PER_CALL
            started["reward"] = WithJudge(
                started["reward"], started["judge"], judge.reward, self.experiment.seed, at_once
            )
        if "rollout" in started and "policy" in started:
            started["weight_sync"] = self.weight_sync(started["policy"], started["rollout"])
        return Roles(**started, mended=self.mended)

    def policy(self) -> PolicyGroup:
        config = self.experiment.policy
        actors = self.trainers("policy", config, self.request.model, heads=None)
        return self.started(PolicyGroup("policy", actors, config.tokens_per_micro_batch, self.timeout))

    def critic(self) -> CriticGroup:
        config = self.experiment.critic
        actors = self.trainers("critic", config, self.path(critic_path(self.experiment)), heads=1)
        return self.started(CriticGroup("critic", actors, config.tokens_per_micro_batch, self.timeout))

    def reward_model(self) -> CriticGroup:
        config = self.experiment.policy
        actors = self.trainers("reward_model", config, self.request.model, heads=self.request.heads)
        return self.started(CriticGroup("reward model", actors, config.tokens_per_micro_batch, self.timeout))

    def trainers(self, role: str, config: PolicyConfig, path: Path, heads: int | None) -> list[Any]:
        experiment = self.experiment
        common = (experiment.model, config, path, self.request.optimizer_steps, experiment.seed, heads)
        ewc = experiment.ewc if role == "policy" else None
        own = [(*common, rank, self.timeout, ewc) for rank in range(config.ranks)]
        return self.seats.fill(role, TrainerActor, threads(config.threads), own)

    def started(self, group: GroupT) -> GroupT:
        group.start(self.start_timeout)
        output = self.experiment.output
        with tempfile.NamedTemporaryFile(dir=output, prefix=".shared-") as token:
            if not all(group.call("sees", Path(token.name))):
                raise ConfigError(
                    f"output={output} is not seen by every trainer rank, and checkpoints are written there; choose a "
                    "folder on "
                    f"storage that all machines share"
                )
        return group

    def path(self, model_path: str | None) -> Path:
        """None stands for the policy's starting weights."""
        return (
            self.request.model if model_path is None else local_path(model_path, self.experiment.output / "playground")
        )

    def rollout(self) -> RolloutHandle:
        config, spec = self.experiment.rollout, self.engine_spec()
        surroundings = environment(config, self.use_gpus)
        actors = self.seats.fill("rollout", RolloutActor, surroundings, [(spec,)] * config.engines)
        vocab_sizes = fetch(
            [actor.start.remote() for actor in actors], "the sampling engines to start", self.start_timeout
        )

        def make(number: int) -> Any:
            return self.seats.put(self.layout.seats["rollout"][number], RolloutActor, surroundings, (spec,))

        stall, told = config.stall_timeout, self.mended
        fleet = Fleet(actors, stall, self.start_timeout, make, config.restarts, told)
        return RolloutHandle(fleet, spec, vocab_sizes[0], self.timeout)

    def reward(self) -> Reward | None:
        """Rules, and what reward models add to them; None where a judge alone rewards."""
        rules = self.rules() if self.experiment.rewards else None
        members = self.frozen.members()
        return WithModels(rules, members, self.request.pad_id) if members else rules

    def judge(self, rollout: RolloutHandle | None = None) -> ModelJudge:
        experiment = self.experiment
        assert experiment.judge is not None
        sleeps = self.use_gpus and experiment.cluster.colocate
        own = (experiment.judge, experiment.output, experiment.seed, self.seats.fill, self.use_gpus, sleeps)
        starter = JudgeStarter(*own, self.timeout, self.start_timeout)
        return starter.start(rollout, self.request.model)

    def rules(self) -> RewardHandle:
        config = self.experiment.scoring
        own = (self.experiment.rewards, config)
        actors = self.seats.fill("reward", RewardActor, threads(1), [own] * config.actors)
        # The actor gives up on a call before the driver gives up on the actor: a slow reward is an abstention, not the
        # end of the run.
        return RewardHandle(actors, 2 * CALLS_PER_ACTOR * config.timeout)

    def weight_sync(self, policy: PolicyGroup, rollout: RolloutHandle) -> WeightSyncHandle:
        experiment, config = self.experiment, self.experiment.weight_sync
        content = choose_content(config, experiment.model.adapter, transport := self.transport)
        workers = experiment.rollout.tensor_parallel
        plan = SendPlan(transport, config.bucket_mib * MIB, workers, self.timeout, content)
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
        return choose_transport(
            self.experiment.weight_sync, self.use_gpus, self.experiment.cluster.colocate, len(hosts) == 1
        )

    def engine_spec(self) -> EngineSpec:
        experiment, judge = self.experiment, self.experiment.judge
        return EngineSpec(
            model=str(self.request.model),
            dtype=self.sampler_dtype,
            max_model_len=experiment.rollout.max_model_len
            or experiment.data.max_prompt_tokens + experiment.sampling.max_tokens,
            seed=experiment.seed,
            config=experiment.rollout,
            on_gpu=self.use_gpus,
            sleeps=self.use_gpus and experiment.cluster.colocate,
            fixed="policy" not in self.request.needs,
            template_variables=judge.template_variables if judge is not None and judge.backend == "rollout" else {},
            stop_ids=self.request.stop_ids,
        )


def threads(count: int) -> dict[str, str]:
    """Set before any library makes its thread pool."""
    return {"OMP_NUM_THREADS": str(count)}
