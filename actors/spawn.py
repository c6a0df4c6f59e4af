"""From a config to roles: the one place that sees both sides."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table

from actors.cluster import connect
from actors.engines.spec import EngineSpec
from actors.frozen import FrozenActor
from actors.group import CriticGroup, PolicyGroup, ReferenceGroup, RewardModelGroup, TeacherGroup, TrainerGroup
from actors.judge import EndpointActor
from actors.placement import reserve, strategy
from actors.reward import CALLS_PER_ACTOR, RewardActor, RewardHandle
from actors.rollout import RolloutActor, RolloutHandle, environment
from actors.spawn_judge import JudgeStarter
from actors.trainer import TrainerActor
from actors.wait import fetch
from actors.weight_sync.sender import SendPlan
from actors.weight_sync.sync import WeightSyncHandle, choose_transport
from rlsys.check.seats import Seating, judges, reward_seat, seating
from rlsys.config.actors import PolicyConfig, RewardModelConfig
from rlsys.config.experiment import Experiment
from rlsys.config.paths import critic_path
from rlsys.errors import ConfigError
from rlsys.judging.asking.judge import ModelJudge
from rlsys.models.load import load_config, local_path
from rlsys.models.reward_scale import read_scale
from rlsys.rewards.with_judge import GROUPS_PER_CALL, WithJudge
from rlsys.rewards.with_models import Member, WithModels
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
        self.actors: list[Any] = []

    def roles(self) -> Roles:
        """Start all roles side by side: most of a start is importing and loading."""
        makers = {
            "policy": self.policy,
            "critic": self.critic,
            "reward_model": self.reward_model,
            "rollout": self.rollout,
            "reference": self.reference,
            "teacher": self.teacher,
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
        wanted = (self.request.needs - {"judge"}) | ({"judge"} if judge and not turns else set())
        started = side_by_side({role: make for role, make in makers.items() if role in wanted})
        if judge and turns:
            started["judge"] = self.judge(started.get("rollout"))
        if judge and judge.reward:
            at_once = sys.maxsize if turns else GROUPS_PER_CALL
            started["reward"] = WithJudge(
                started["reward"], started["judge"], judge.reward, self.experiment.seed, at_once
            )
        if "rollout" in started and "policy" in started:
            started["weight_sync"] = self.weight_sync(started["policy"], started["rollout"])
        return Roles(**started)

    def dismiss(self) -> None:
        for actor in self.actors:
            ray.kill(actor)

    def seat(
        self, role: str, actor_class: type, environment: Mapping[str, str], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """One actor per seat of the role, each with its own arguments."""
        seated = []
        for seat, own in zip(self.layout.seats[role], arguments, strict=True):
            # Ray leaves all GPUs visible to an actor that asked for none.
            hidden = {} if seat.gpus else {"CUDA_VISIBLE_DEVICES": ""}
            options = {
                "num_cpus": seat.cpus,
                "num_gpus": seat.gpus,
                "scheduling_strategy": strategy(self.bundles, seat),
                "max_concurrency": 2 if actor_class is EndpointActor else 1,
                "runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "false", **environment, **hidden}},
            }
            actor = ray.remote(actor_class).options(**options).remote(*own)
            self.actors.append(actor)
            seated.append(actor)
        return seated

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
        return self.seat(
            role, TrainerActor, threads(config.threads), [(*common, rank, self.timeout) for rank in range(config.ranks)]
        )

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

    def reference(self) -> ReferenceGroup:
        experiment, config = self.experiment, self.experiment.reference
        own = (experiment.model, config.threads, path := self.path(config.path), False)
        actors = self.seat("reference", FrozenActor, threads(config.threads), [own] * config.ranks)
        group = ReferenceGroup(actors, config.tokens_per_micro_batch, self.timeout, path)
        group.start(self.start_timeout)
        return group

    def teacher(self) -> TeacherGroup:
        experiment, config = self.experiment, self.experiment.teacher
        assert config is not None
        own = (experiment.model, config.threads, path := self.path(config.path), False)
        # Heads are often wider than the tokenizer, and not all of a family's equally.
        vocabulary = min(load_config(model).get_text_config().vocab_size for model in (self.request.model, path))
        actors = self.seat("teacher", FrozenActor, threads(config.threads), [own] * config.ranks)
        group = TeacherGroup(actors, config.tokens_per_micro_batch, self.timeout, config.top_k, vocabulary)
        group.start(self.start_timeout)
        return group

    def rollout(self) -> RolloutHandle:
        config, spec = self.experiment.rollout, self.engine_spec()
        actors = self.seat("rollout", RolloutActor, environment(config, self.use_gpus), [(spec,)] * config.engines)
        vocab_sizes = fetch(
            [actor.start.remote() for actor in actors], "the sampling engines to start", self.start_timeout
        )
        return RolloutHandle(actors, spec, vocab_sizes[0], self.timeout)

    def reward(self) -> Reward | None:
        """Rules, and what reward models add to them; None where a judge alone rewards."""
        rules = self.rules() if self.experiment.rewards else None
        members = [
            *side_by_side(
                {config.name: partial(self.member, config) for config in self.experiment.reward_models}
            ).values()
        ]
        if not members:
            return rules
        return WithModels(rules, members, self.request.pad_id)

    def judge(self, rollout: RolloutHandle | None = None) -> ModelJudge:
        experiment = self.experiment
        assert experiment.judge is not None
        sleeps = self.use_gpus and experiment.cluster.colocate
        starter = JudgeStarter(
            experiment.judge,
            experiment.output,
            experiment.seed,
            self.seat,
            self.use_gpus,
            sleeps,
            self.timeout,
            self.start_timeout,
        )
        return starter.start(rollout, self.request.model)

    def rules(self) -> RewardHandle:
        config = self.experiment.scoring
        actors = self.seat(
            "reward", RewardActor, threads(1), [(self.experiment.rewards, config.timeout)] * config.actors
        )
        # The actor gives up on a call before the driver gives up on the actor: a slow reward is an abstention, not the
        # end of the run.
        return RewardHandle(actors, 2 * CALLS_PER_ACTOR * config.timeout)

    def member(self, config: RewardModelConfig) -> Member:
        own = (self.experiment.model, config.threads, path := self.path(config.path), True)
        actors = self.seat(reward_seat(config), FrozenActor, threads(config.threads), [own] * config.ranks)
        group = RewardModelGroup(config.name, actors, config.tokens_per_micro_batch, self.timeout)
        group.start(self.start_timeout)
        offset, scale = read_scale(path) if config.normalize else (0.0, 1.0)
        return Member(config.name, config.weight, group, config.ensemble, offset, scale)

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
