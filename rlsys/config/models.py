"""The config models that several places share. An algorithm's, a stage's and a reward's own are declared beside their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from rlsys.config.base import Model
from rlsys.roles import Sampling


class LoraConfig(Model):
    rank: PositiveInt = 16
    """Rank of the adapter matrices."""
    alpha: PositiveFloat = 32.0
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: tuple[str, ...] = ()
    """Module names that get an adapter; empty means every linear layer except the output head."""


class ModelConfig(Model):
    path: str
    """Hub id or local folder of a causal language model, or `playground:SIZE` for a tiny one built here."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the forward and backward pass; the optimizer's master weights are float32 either way."""
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """Attention kernel of the trainer; auto takes flash_attention_2 where it is installed and a GPU is used, else sdpa."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of all weights; samplers get merged weights."""


class DatasetConfig(Model):
    path: str
    """Hub id, local .jsonl/.json/.parquet file, local folder, or `playground:TASK`."""
    split: str = "train"
    """Split of the data set; for `playground:TASK` also the name of the generated split (train or test)."""
    subset: str | None = None
    """Configuration name of a hub data set (`main` for gsm8k)."""
    fields: dict[str, str] = {}
    """Which column is what: keys `prompt`, `answer`, `messages`; any further key is passed on to rewards. Unmapped names stand for themselves."""
    answer_after: str | None = None
    """The ground truth is what follows the last occurrence of this marker in the answer column (`####` for gsm8k)."""
    system_prompt: str | None = None
    """System message put before every prompt; needs a chat template."""
    chat_template: Literal["auto", "always", "never"] = "auto"
    """Render prompts with the tokenizer's chat template: auto does so if it has one."""
    limit: PositiveInt | None = None
    """Use only the first so many rows."""
    wrong_fraction: float = Field(default=0.0, ge=0, le=1)
    """For `playground:TASK` only: the fraction of rows whose answer is replaced by a wrong one."""


class DataConfig(Model):
    train: DatasetConfig
    """Where prompts (and, for supervised stages, answers) come from."""
    eval: DatasetConfig | None = None
    """Held-out rows for evaluation."""
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are left out, and counted."""
    shuffle: bool = True
    """Draw a new order each epoch from the run's seed."""
    strict: bool = False
    """Stop at the first unreadable row instead of putting it aside (in the run's `quarantine.jsonl`) and counting it."""


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


class RewardSpec(Model):
    name: str
    """A file in rlsys/rewards, or the dotted path of your own function or class."""
    weight: float = 1.0
    """Factor in the weighted sum."""
    args: dict[str, Any] = {}
    """The reward's own settings."""


class PolicyConfig(Model):
    ranks: PositiveInt = 1
    """Data-parallel training processes; on GPUs, one GPU each."""
    threads: PositiveInt = 1
    """CPU threads of each rank."""
    zero_stage: int = Field(default=2, ge=0, le=3)
    """DeepSpeed ZeRO stage: 0 shards nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    learning_rate: PositiveFloat = 1e-6
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's decoupled weight decay."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear warm-up."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's global norm is clipped to this."""
    tokens_per_micro_batch: PositiveInt = 16384
    """Token budget (padding included) of one forward and backward pass on one rank."""
    packing: Literal["auto", "packed", "padded"] = "auto"
    """Concatenate sequences into one row or pad them; auto packs where the attention kernel keeps packed sequences apart without a mask."""
    offload_optimizer: bool = False
    """Keep optimizer states in host memory (ZeRO 1 to 3, GPUs)."""
    offload_parameters: bool = False
    """Keep weights in host memory (ZeRO 3, GPUs)."""


class ReferenceConfig(Model):
    path: str | None = None
    """Model of the reference; none means the policy's starting weights."""
    ranks: PositiveInt = 1
    """Processes; each holds the whole model."""
    threads: PositiveInt = 1
    """CPU threads of each rank."""
    tokens_per_micro_batch: PositiveInt = 32768
    """Token budget of one forward pass."""


class RolloutConfig(Model):
    engines: PositiveInt = 1
    """vLLM engines; groups are dealt out to them in order."""
    tensor_parallel: PositiveInt = 1
    """GPUs of one engine."""
    threads: PositiveInt = 1
    """CPU threads of each engine."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the sampler; auto is the model's."""
    prefix_caching: bool = True
    """Compute a prompt's keys and values once for its whole group."""
    max_model_len: PositiveInt | None = None
    """Longest prompt plus response; none takes data.max_prompt_tokens + sampling.max_tokens."""
    max_num_seqs: PositiveInt = 256
    """Sequences that one engine runs at the same time."""
    gpu_memory_fraction: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory that one engine may take."""
    kv_cache_gib: PositiveInt = 1
    """CPU only: memory for keys and values of each engine, GiB."""
    eager: bool | None = None
    """Run without CUDA graphs or compilation; none means eager on CPU and compiled on GPU."""
    queue_groups: PositiveInt = 64
    """Finished groups that may wait to be taken before an engine pauses handing out more."""

    def runs_eager(self, on_gpu: bool) -> bool:
        return self.eager if self.eager is not None else not on_gpu


class ScoringConfig(Model):
    actors: PositiveInt = 1
    """Processes that compute rewards; each takes one CPU."""
    timeout: PositiveFloat = 300.0
    """Longest time (seconds) for the samples of one call, a few groups; those not scored by then are abstentions."""


class SyncConfig(Model):
    transport: Literal["auto", "shared_memory", "gloo", "nccl", "ipc"] = "auto"
    """How weights travel; auto: ipc on colocated GPUs, nccl on separate ones, shared_memory on one CPU host, gloo on several."""
    bucket_mib: PositiveInt = 256
    """Weights are sent in buckets of about this size."""
    probe_tokens: PositiveInt = 64
    """Length of the fixed prompt that trainer and sampler both score after each sync."""
    probe_tolerance: PositiveFloat | None = None
    """Largest allowed |trainer - sampler| log-prob on the probe (nats); none takes 1e-4 for float32 and 0.15 for bfloat16."""


class LoopConfig(Model):
    steps: PositiveInt
    """Training steps: each collects, learns and syncs once."""
    eval_every: NonNegativeInt = 0
    """Evaluate every so many steps, beside before and after; 0 is only before and after."""
    checkpoint_every: NonNegativeInt = 50
    """Save a checkpoint every so many steps, beside the end; 0 is only at the end, so that a run that breaks off begins anew."""
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
    """Which of the rewards says right or wrong (its score at least `pass_score`); none means the first."""
    pass_score: float = 1.0
    """Score from which an answer counts as right."""


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
    """Put trainer ranks and sampling engines on the same GPUs (the sampler sleeps while the trainer works) instead of separate ones."""
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
    """A loop without sampling: `name` is a file in rlsys/stages or a dotted path; the other keys are its own."""
    rewards: tuple[RewardSpec, ...] = ()
    """What is good: a weighted sum."""
    scoring: ScoringConfig = ScoringConfig()
    """Where and how long rewards are computed."""
    sampling: SamplingConfig = SamplingConfig()
    """How responses are drawn."""
    policy: PolicyConfig = PolicyConfig()
    """Training of the policy (DeepSpeed)."""
    reference: ReferenceConfig = ReferenceConfig()
    """The frozen model of the KL term, started only when one is asked for."""
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
