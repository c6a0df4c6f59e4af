"""The config models that several places share. A method's and a reward's own are declared beside their
code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

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
from rlsys.config.alarm import AlarmText
from rlsys.config.answers import AnswerPlaces
from rlsys.config.base import Model
from rlsys.config.contamination import ContaminationConfig
from rlsys.config.dataset import DatasetConfig, HeldOutConfig
from rlsys.config.ewc import EwcConfig
from rlsys.config.judge import JudgeConfig
from rlsys.config.sampling import SamplingConfig


class DataConfig(Model):
    train: DatasetConfig | None = None
    """Where prompts (and, for supervised stages, answers) come from; a method that only measures needs none."""
    also: tuple[DatasetConfig, ...] = ()
    """Further training sets: each row is drawn from one of them all, at random, with a probability that depends on
    their sizes."""
    mix_temperature: PositiveFloat = 1.0
    """A set of n rows is drawn from with probability proportional to (weight * n) ** (1 / mix_temperature): a high one
    makes sets equal."""
    eval: HeldOutConfig | None = None
    """Held-out rows for evaluation: a data set of its own, or `{share: 0.1}` of `data.train`."""
    pretrain: DatasetConfig | None = None
    """Raw text (column `text`) that a method with `ptx_coef` goes on to imitate."""
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are left out, and counted."""
    shuffle: bool = True
    """Draw a new order each epoch from the run's seed."""
    contamination: ContaminationConfig = ContaminationConfig()
    """Evaluation rows among the training rows: a run that has too many is refused, method `curate` drops them."""
    strict: bool = False
    """Stop at the first unreadable row instead of putting it aside (in the run's `quarantine.jsonl`) and counting
    it."""

    @model_validator(mode="after")
    def _parts_once(self) -> Self:
        if self.eval is None or self.eval.share is None:
            return self
        if self.train is None:
            raise ValueError("eval.share is a part of data.train, and there is none; give eval a path")
        if any(one.part is not None for one in (self.train, *self.also)):
            raise ValueError("eval.share parts the training sets, and one of them has a part of its own; leave one out")
        return self

    def training(self) -> tuple[DatasetConfig, ...]:
        """`train` and `also`, without what is held out of them; nothing where there is no training set."""
        sets = (self.train, *self.also) if self.train is not None else ()
        return sets if self.eval is None else tuple(map(self.eval.without, sets))

    def held_out(self) -> DatasetConfig | None:
        """What `eval` means, as a data set."""
        if self.eval is None:
            return None
        return self.eval.of(self.train)


class LoopConfig(Model):
    steps: PositiveInt | None = None
    """Training steps: each collects, learns and syncs once."""
    epochs: PositiveFloat | None = None
    """In place of steps: passes over the training rows; the last step is the one that completes them."""
    eval_every: NonNegativeInt = 0
    """Evaluate every so many steps, beside before and after; 0 is only before and after."""
    checkpoint_every: NonNegativeInt = 50
    """Save a checkpoint every so many steps, beside the end; 0 is only at the end, so that a run that breaks off begins
    anew."""
    patience: NonNegativeInt = 0
    """Stop after so many evaluations in a row that were no better than the best one, and end with the best model; 0 is
    never."""
    keep_last: PositiveInt = 2
    """Newest checkpoints to keep; the best one by held-out score is kept as well."""
    max_staleness: int = Field(default=0, ge=0, le=0)
    """Policy versions that a batch may lag behind the weights it trains; only 0 (on-policy) so far."""
    stop_if_nothing_taught: NonNegativeInt = 0
    """End the run, with an error, after so many steps in a row that changed no weight: no score, equal rewards, a
    gradient of 0; 0 never ends it."""
    warn_when: tuple[AlarmText, ...] = ("z(train/grad_norm) > 30",)
    """Comparisons on metrics that are looked at in every step, as in 'train/kl > 0.5', 'eval/accuracy < 0.2' or
    'reward/mean < 0.1 for 3' (in three steps in a row); z(METRIC) is how many robust standard deviations a value lies
    above the median of the last 50. One that holds is said, and is in the summary."""
    stop_when: tuple[AlarmText, ...] = ()
    """As `warn_when`; one that holds ends the run, which saves a checkpoint and its model and says why."""
    timeout: PositiveFloat = 1800.0
    """Longest wait (seconds) for any single answer of an actor before the run stops and says what it waited for."""
    restarts: NonNegativeInt = 3
    """When an actor dies or hangs, begin again from the newest checkpoint with new actors, at most so many times
    without getting to another checkpoint; then, or with 0 at once, the run ends with an error."""
    stop_grace: PositiveFloat = 20.0
    """Seconds after SIGTERM in which the run may finish its step and save a checkpoint; what is not done by then is
    broken off, and the run goes on from the checkpoint before."""

    @model_validator(mode="after")
    def _ends_somewhere(self) -> Self:
        if self.steps is None and self.epochs is None:
            raise ValueError("give steps, or epochs in place of them: how long the run is")
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"steps is {self.steps} and epochs is {self.epochs:g}; set one of them to null")
        return self


class EvaluationConfig(AnswerPlaces):
    prompts: PositiveInt | None = 256
    """Held-out prompts, the first so many; null takes all."""
    samples: NonNegativeInt = 1
    """Samples per prompt at the training temperature; 0 leaves sampled accuracy out."""
    greedy: bool = True
    """Also score one greedy answer per prompt."""
    reward: str | None = None
    """Which of the rewards says what is right (its score at least `pass_score`) and better (win rate; best checkpoint,
    where there is no accuracy). None: the first of `rewards` with a weight says what is right (nothing does, without
    one), and the weighted sum of all what is better."""
    gold: str | None = None
    """One of the rewards that is trusted more than what is optimised, and has weight 0: a stricter verifier, a judge, a
    known gold. Measures `proxy_gap`, by how much more the reward has gained than it, and `exploits`, the share of the
    answers right by the first of `rewards` with a weight that it calls wrong. None: `reward`, where its weight is 0."""
    pass_score: float | None = 1.0
    """Score from which an answer counts as right; none measures rewards only, no accuracy. A judge's expected scores
    lie below 1."""
    pass_at: tuple[PositiveInt, ...] = ()
    """Also measure pass@k of the sampled answers, the chance that one of k is right, for each k given here; `samples`
    must be as many."""
    majority: bool = False
    """Also measure whether the most frequent final answer of all `samples` of a prompt is right (maj@k);
    `answer_places` says where that is."""


class LoggingConfig(Model):
    wandb: Literal["off", "offline", "online"] = "off"
    """Also send metrics to Weights & Biases."""
    wandb_project: str = "rlsys"
    """Its project."""
    progress: Literal["auto", "live", "plain", "off"] = "auto"
    """Progress display: auto is live on a terminal and plain lines elsewhere."""


class ClusterConfig(Model):
    address: str | None = None
    """Ray cluster to join; none joins the one that RAY_ADDRESS or this machine names, and starts a local one if there
    is none."""
    cpus: PositiveInt | None = None
    """CPUs of a local cluster started here; none means all of the machine's."""
    gpus: NonNegativeInt | None = None
    """GPUs of a local cluster started here; none means all of the machine's."""
    colocate: bool = False
    """Put all roles on the same GPUs instead of separate ones. The sampler sleeps while the others work; they stay in
    memory side by side."""
    start_timeout: PositiveFloat = 900.0
    """Longest wait (seconds) for the cluster's resources and for each actor to start, downloading and loading its model
    included."""


class Experiment(Model):
    """One run. Its `method` is checked by the `Config` of the file that it names."""

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
    method: Any
    """What is done: `name` is a file in rlsys/methods or a dotted path; the other keys are its own."""
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
    """Training of the policy (DeepSpeed), or of the reward model that the method makes."""
    critic: CriticConfig = CriticConfig()
    """Training of the critic, where the method has one."""
    reference: ReferenceConfig = ReferenceConfig()
    """The frozen model of the KL term, started only when one is asked for."""
    teacher: TeacherConfig | None = None
    """The frozen model that a student learns from, where the method distils one."""
    rollout: RolloutConfig = RolloutConfig()
    """Sampling engines (vLLM)."""
    weight_sync: SyncConfig = SyncConfig()
    """The way from trainer to sampler."""
    ewc: EwcConfig | None = None
    """What holds the policy's weights near those of earlier tasks (elastic weight consolidation)."""
    loop: LoopConfig
    """How long, and what happens when."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How held-out accuracy is measured."""
    logging: LoggingConfig = LoggingConfig()
    """Where metrics go."""
    cluster: ClusterConfig = ClusterConfig()
    """Where it runs."""
