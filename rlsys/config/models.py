"""The config models that several places share. An algorithm's, a stage's and a reward's own are declared beside their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from rlsys.config.actors import (
    CriticConfig,
    ModelConfig,
    PolicyConfig,
    ReferenceConfig,
    RewardModelConfig,
    RewardSpec,
    RolloutConfig,
    ScoringConfig,
    SyncConfig,
    TeacherConfig,
)
from rlsys.config.base import Model
from rlsys.config.dataset import DatasetConfig, HeldOutConfig
from rlsys.config.judge import JudgeConfig
from rlsys.roles import Sampling


class DataConfig(Model):
    train: DatasetConfig
    """Where prompts (and, for supervised stages, answers) come from."""
    also: tuple[DatasetConfig, ...] = ()
    """Further training sets: each row is drawn from one of them all, at random, with a probability that depends on their sizes."""
    mix_temperature: PositiveFloat = 1.0
    """A set of n rows is drawn from with probability proportional to (weight * n) ** (1 / mix_temperature): a high one makes sets equal."""
    eval: HeldOutConfig | None = None
    """Held-out rows for evaluation: a data set of its own, or `{share: 0.1}` of `data.train`."""
    pretrain: DatasetConfig | None = None
    """Raw text (column `text`) that an algorithm with `ptx_coef` goes on to imitate."""
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are left out, and counted."""
    shuffle: bool = True
    """Draw a new order each epoch from the run's seed."""
    strict: bool = False
    """Stop at the first unreadable row instead of putting it aside (in the run's `quarantine.jsonl`) and counting it."""

    @model_validator(mode="after")
    def _parts_once(self) -> DataConfig:
        if self.eval is not None and self.eval.share is not None and any(one.part is not None for one in (self.train, *self.also)):
            raise ValueError("eval.share parts the training sets, and one of them has a part of its own; leave one out")
        return self

    def training(self) -> tuple[DatasetConfig, ...]:
        """`train` and `also`, without what is held out of them."""
        sets = (self.train, *self.also)
        return sets if self.eval is None else tuple(map(self.eval.without, sets))

    def held_out(self) -> DatasetConfig | None:
        """What `eval` means, as a data set."""
        return None if self.eval is None else self.eval.of(self.train)


class SamplingConfig(Model):
    temperature: NonNegativeFloat = 1.0
    """Softmax temperature; training scores log-probs at the same one."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling bound; 1 is off. Training scores whole distributions, so importance weights then also make up for what was cut off."""
    top_k: NonNegativeInt = 0
    """Sample among so many most likely tokens; 0 is off."""
    max_tokens: PositiveInt = 1024
    """Longest response."""

    def sampling(self, n: int) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_tokens, n)

    def greedy(self) -> Sampling:
        return Sampling(0.0, 1.0, 0, self.max_tokens, 1)


class LoopConfig(Model):
    steps: PositiveInt
    """Training steps: each collects, learns and syncs once."""
    eval_every: NonNegativeInt = 0
    """Evaluate every so many steps, beside before and after; 0 is only before and after."""
    checkpoint_every: NonNegativeInt = 50
    """Save a checkpoint every so many steps, beside the end; 0 is only at the end, so that a run that breaks off begins anew."""
    patience: NonNegativeInt = 0
    """Stop after so many evaluations in a row that were no better than the best one, and end with the best model; 0 is never."""
    keep_last: PositiveInt = 2
    """Newest checkpoints to keep; the best one by held-out score is kept as well."""
    max_staleness: int = Field(default=0, ge=0, le=0)
    """Policy versions that a batch may lag behind the weights it trains; only 0 (on-policy) so far."""
    timeout: PositiveFloat = 1800.0
    """Longest wait (seconds) for any single answer of an actor before the run stops and says what it waited for."""


class EvaluationConfig(Model):
    prompts: PositiveInt = 256
    """Held-out prompts, the first so many."""
    samples: NonNegativeInt = 1
    """Samples per prompt at the training temperature; 0 leaves sampled accuracy out."""
    greedy: bool = True
    """Also score one greedy answer per prompt."""
    reward: str | None = None
    """Which of the rewards says what is right (its score at least `pass_score`) and better (win rate; best checkpoint, where there is no accuracy).
    None: the first of `rewards` with a weight says what is right (nothing does, without one), and the weighted sum of all what is better."""
    pass_score: float | None = 1.0
    """Score from which an answer counts as right; none measures rewards only, no accuracy. A judge's expected scores lie below 1."""
    pass_at: tuple[PositiveInt, ...] = ()
    """Also measure pass@k of the sampled answers, the chance that one of k is right, for each k given here; `samples` must be as many."""
    majority: bool = False
    """Also measure whether the most frequent final answer of all `samples` of a prompt is right (maj@k)."""
    answer_after: str | None = None
    """A final answer, for `majority`, is what follows the last occurrence of this marker; none: the last \\boxed{}, else the last number."""


class LoggingConfig(Model):
    wandb: Literal["off", "offline", "online"] = "off"
    """Also send metrics to Weights & Biases."""
    wandb_project: str = "rlsys"
    """Its project."""
    progress: Literal["auto", "live", "plain", "off"] = "auto"
    """Progress display: auto is live on a terminal and plain lines elsewhere."""


class ClusterConfig(Model):
    address: str | None = None
    """Ray cluster to join; none joins the one that RAY_ADDRESS or this machine names, and starts a local one if there is none."""
    cpus: PositiveInt | None = None
    """CPUs of a local cluster started here; none means all of the machine's."""
    gpus: NonNegativeInt | None = None
    """GPUs of a local cluster started here; none means all of the machine's."""
    colocate: bool = False
    """Put all roles on the same GPUs instead of separate ones. The sampler sleeps while the others work; they stay in memory side by side."""
    start_timeout: PositiveFloat = 900.0
    """Longest wait (seconds) for the cluster's resources and for each actor to start, downloading and loading its model included."""


class Experiment(Model):
    """One training run. Exactly one of `algorithm` and `stage` is given; both are checked by the `Config` of the file they name."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the run and of its folder."""
    seed: int = 0
    """Everything random is derived from it."""
    output: Path = Path("runs")
    """Folder in which the run's folder is made."""
    model: ModelConfig
    """The policy."""
    data: DataConfig
    """Prompts to train on and to evaluate with."""
    algorithm: Any = None
    """A loop with sampling: `name` is a file in rlsys/algorithms or a dotted path; the other keys are its own."""
    stage: Any = None
    """A loop that samples nothing or trains nothing: `name` is a file in rlsys/stages or a dotted path; the other keys are its own."""
    rewards: tuple[RewardSpec, ...] = ()
    """What is good: a weighted sum of rules, and of `reward_models`."""
    reward_models: tuple[RewardModelConfig, ...] = ()
    """Reward models that score samples, each in processes of its own."""
    judge: JudgeConfig | None = None
    """A model that compares, scores, critiques and revises answers."""
    scoring: ScoringConfig = ScoringConfig()
    """Where and how long rewards are computed."""
    sampling: SamplingConfig = SamplingConfig()
    """How responses are drawn."""
    policy: PolicyConfig = PolicyConfig()
    """Training of the policy (DeepSpeed), or of the model that a stage makes."""
    critic: CriticConfig = CriticConfig()
    """Training of the critic, where the algorithm has one."""
    reference: ReferenceConfig = ReferenceConfig()
    """The frozen model of the KL term, started only when one is asked for."""
    teacher: TeacherConfig | None = None
    """The frozen model that a student learns from, where the algorithm or stage distils one."""
    rollout: RolloutConfig = RolloutConfig()
    """Sampling engines (vLLM)."""
    weight_sync: SyncConfig = SyncConfig()
    """The way from trainer to sampler."""
    loop: LoopConfig
    """How long, and what happens when."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How held-out accuracy is measured."""
    logging: LoggingConfig = LoggingConfig()
    """Where metrics go."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
