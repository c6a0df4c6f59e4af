"""The config of each kind of actor."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from rlsys.config.base import Model


class ModelConfig(Model):
    path: str
    """Hub id or local folder of a causal language model, or `playground:SIZE` for a tiny one built here."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the forward and backward pass; the optimizer's master weights are float32 either way."""
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """Attention kernel of the trainer; auto takes flash_attention_2 where it is installed and a GPU is used, else
    sdpa."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    adapter: Any = None
    """Train a part in place of all weights, as in {kind: lora, rank: 16}: `kind` is a file in rlsys/models/adapters,
    the other keys are its own."""


class PolicyConfig(Model):
    ranks: PositiveInt = 1
    """Data-parallel training processes; on GPUs, one GPU each."""
    threads: PositiveInt = 1
    """CPU threads of each rank."""
    zero_stage: int = Field(default=2, ge=0, le=3)
    """DeepSpeed ZeRO stage: 0 shards nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    learning_rate: PositiveFloat = 1e-6
    """Peak learning rate."""
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    """AdamW, or RMSProp as torch has it (decay rate 0.99, no momentum), which keeps half as many states."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of matrices: AdamW's decoupled one; rmsprop adds it to the gradient, as L2 regularisation."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear warm-up."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient's global norm is clipped to this."""
    tokens_per_micro_batch: PositiveInt = 16384
    """Token budget (padding included) of one forward and backward pass on one rank."""
    packing: Literal["auto", "packed", "padded"] = "auto"
    """Concatenate sequences into one row or pad them; auto packs where the attention kernel keeps packed sequences
    apart without a mask."""
    offload_optimizer: bool = False
    """Keep optimizer states in host memory (ZeRO 1 to 3, GPUs)."""
    offload_parameters: bool = False
    """Keep weights in host memory (ZeRO 3, GPUs)."""


class CriticConfig(PolicyConfig):
    """Training of the critic: the keys of `policy`, and where it starts."""

    path: str | None = None
    """Model that the critic starts from; none means the first of reward_models if that is a whole model, or else the
    policy's starting weights with a new head."""


class ReferenceConfig(Model):
    path: str | None = None
    """Model of the reference; none means model.path (without adapter)."""
    share: Literal["auto", "never"] = "auto"
    """Where an adapter is trained, and leaves the base's weights as they are: auto takes the policy with its adapter
    switched off for the reference, in the policy's own processes, and loads no second copy; never loads one."""
    ranks: PositiveInt = 1
    """Processes of a reference of its own; each holds the whole model."""
    threads: PositiveInt = 1
    """CPU threads of each of them."""
    tokens_per_micro_batch: PositiveInt = 32768
    """Token budget of one forward pass of such a process."""


class TeacherConfig(Model):
    path: str
    """Model of the teacher, with the policy's tokenizer."""
    top_k: NonNegativeInt = 64
    """How many tokens it names at each place, the most likely ones. What is left over counts as one outcome. Each takes
    12 bytes per place of the batch, padding included, through the driver; so 0, which is all of the vocabulary, is for
    small ones."""
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
    """Longest prompt plus response; none takes data.max_prompt_tokens + sampling.max_tokens (a judge: what its model
    sees, at most 8192)."""
    max_num_seqs: PositiveInt = 256
    """Sequences that one engine runs at the same time."""
    gpu_memory_fraction: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory that one engine may take."""
    kv_cache_gib: PositiveInt = 1
    """CPU only: memory for keys and values of each engine, GiB."""
    eager: bool | None = None
    """Run without CUDA graphs or compilation; none means eager on CPU and compiled on GPU."""
    stall_timeout: PositiveFloat = 120.0
    """Seconds without a sign of life after which an engine counts as dead; while it samples, one comes every two
    seconds, between two of its steps."""
    restarts: NonNegativeInt = 3
    """How many engines that die or hang are replaced between two weight syncs; what they had not finished is sampled by
    the others, or by the successor. Beyond that, or with 0, `loop.restarts` decides."""
    queue_groups: PositiveInt = 64
    """Finished groups that may wait to be taken before an engine pauses handing out more."""

    def runs_eager(self, on_gpu: bool) -> bool:
        return self.eager if self.eager is not None else not on_gpu


class RewardSpec(Model):
    name: str
    """A file in rlsys/rewards, or the dotted path of your own function or class."""
    label: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$")
    """What it is called among the parts of the reward; none means its name."""
    weight: float = 1.0
    """Factor in the weighted sum."""
    args: dict[str, Any] = {}
    """The reward's own settings."""


class ScoringConfig(Model):
    actors: PositiveInt = 1
    """Processes that compute rewards; each takes one CPU."""
    timeout: PositiveFloat = 300.0
    """Longest time (seconds) for the samples of one call, a few groups; those not scored by then are abstentions."""
    processes: PositiveInt = 2
    """Of a reward of your own, in each actor: so many samples are scored at the same time. More for one that waits for
    a service; 1 for one that must see all samples in one process."""
    time_limit: PositiveFloat = 30.0
    """Of a reward of your own: seconds for one sample; then its process is killed and the sample has no score."""
    memory_gib: PositiveFloat | None = 4.0
    """Of a reward of your own: address space of each process; what wants more has no score. None, for rewards that use
    a GPU: no limit."""


class RewardModelConfig(Model):
    name: str = Field(default="reward_model", pattern=r"^[A-Za-z0-9_-]+$")
    """Its name among the parts of the reward."""
    path: str
    """Local folder or hub id of a model with a scalar head, with the policy's tokenizer; with `base`, the folder of an
    adapter and its head."""
    base: str | None = None
    """Model that the adapter in `path` was trained on. Reward models of one base have it in memory once, in the same
    processes."""
    weight: float = 1.0
    """Factor of its score in the weighted sum with all other rewards."""
    ensemble: Literal["mean", "min", "mean_minus_std"] = "mean"
    """What is made of the scores of its heads, where it has several (Coste et al. 2023)."""
    normalize: bool = False
    """Subtract the mean and divide by the standard deviation that its scores had on its held-out data."""
    ranks: PositiveInt = 1
    """Processes; each holds the whole model."""
    threads: PositiveInt = 1
    """CPU threads of each rank."""
    tokens_per_micro_batch: PositiveInt = 32768
    """Token budget of one forward pass."""


class SyncConfig(Model):
    transport: Literal["auto", "shared_memory", "gloo", "nccl", "ipc"] = "auto"
    """How weights travel; auto: ipc on colocated GPUs, nccl on separate ones, shared_memory on one CPU host, gloo on
    several."""
    content: Literal["auto", "merged", "adapter"] = "auto"
    """What a sync brings. merged: all weights, the adapter merged into them. adapter: the first one all of them, later
    ones what is trained alone, which the sampler merges into the frozen weights that it keeps. auto: adapter where one
    is trained, but merged through ipc."""
    bucket_mib: PositiveInt = 256
    """Weights are sent in buckets of about this size."""
    probe_tokens: PositiveInt = 64
    """Length of the fixed prompt that trainer and sampler both score after each sync."""
    probe_tolerance: PositiveFloat | None = None
    """Largest allowed |trainer - sampler| log-prob on the probe (nats); none takes 1e-4 for float32 and 0.15 for
    bfloat16."""
