"""The axes of the family, and presets on them."""

from __future__ import annotations

from copy import copy
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, create_model, model_validator

from rlsys.methods.base import Facts, MethodConfig
from rlsys.objectives.kl import KlName
from rlsys.objectives.reduction import ReductionName

IN_GROUPS = ("group_mean", "leave_one_out")
"""Baselines that compare a sample with the others of its prompt."""

CLIPPED = ("token_ratio", "sequence_ratio", "cispo")
MASKS = ("token_mask", "sequence_mask")
READ_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "gamma": ("baseline", ("gae", "batch_mean")),
    "gae_lambda": ("baseline", ("gae",)),
    "value_clip": ("baseline", ("gae",)),
    "critic_warmup": ("baseline", ("gae",)),
    "clip_low": ("surrogate", CLIPPED),
    "clip_high": ("surrogate", CLIPPED),
    "dual_clip": ("surrogate", ("token_ratio",)),
    "tau_positive": ("surrogate", ("sapo",)),
    "tau_negative": ("surrogate", ("sapo",)),
    "importance_low": ("importance_sampling", MASKS),
    "importance_high": ("importance_sampling", ("token", "sequence", *MASKS)),
    "max_resamples": ("equal_groups", ("resample",)),
}
"""Keys that only some choices of another key read."""
READ_ABOVE_ZERO = {"kl_in": "kl_coef", "kl_estimator": "kl_coef", "kl_horizon": "kl_target", "ptx_batch": "ptx_coef"}
"""Keys that are read only where another one is set."""


class Settings(MethodConfig):
    prompts_per_step: PositiveInt = 32
    """Prompts of one training step."""
    group_size: PositiveInt = 8
    """Samples per prompt."""
    epochs: PositiveInt = 1
    """Passes over each step's samples."""
    mini_batches: PositiveInt = 1
    """Optimizer steps per pass."""

    baseline: Literal["group_mean", "leave_one_out", "greedy", "batch_mean", "gae"] = "group_mean"
    """What a reward is compared with: the mean of its group or of the others in it, the reward of the greedy answer to
    the prompt, the mean over the whole step, or a critic's value by generalised advantage estimation."""
    scale: Literal["none", "group_std", "whiten"] = "none"
    """Divide advantages by their group's standard deviation, or give them mean 0 and variance 1 over all tokens of the
    step."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount per token of `gae` and `batch_mean`."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """1 trusts returns alone, 0 the critic alone."""

    surrogate: Literal["token_ratio", "sequence_ratio", "cispo", "sapo", "reinforce"] = "token_ratio"
    """Whose gradient is followed: clipped ratios of tokens (PPO) or of sequences (GSPO), clipped weights (CISPO), a
    soft gate (SAPO), or advantage x log-prob (REINFORCE)."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """The probability ratio is clipped from below at 1 - clip_low."""
    clip_high: PositiveFloat = 0.2
    """The probability ratio is clipped from above at 1 + clip_high."""
    dual_clip: float | None = Field(default=None, gt=1)
    """`token_ratio`: bound on the ratio for negative advantages (Ye et al. 2020); none is off."""
    tau_positive: PositiveFloat = 1.0
    """`sapo`: how fast its gate closes where the advantage is positive."""
    tau_negative: PositiveFloat = 1.05
    """The same where it is negative."""
    reduction: ReductionName = "token_mean"
    """Mean over tokens, over sequences of their token means, over sequences of their token sums, or that divided by
    sampling.max_tokens."""

    kl_coef: NonNegativeFloat = 0.0
    """Weight of the KL to the reference; above 0 a reference actor is started."""
    kl_in: Literal["loss", "reward"] = "loss"
    """A term of the loss, or a penalty on every token's reward."""
    kl_estimator: KlName = "k3"
    """Estimator of that KL (Schulman 2020)."""
    kl_target: float | None = Field(default=None, gt=0)
    """Adapt kl_coef, its start, so that the KL of a response comes to this many nats (Ziegler et al. 2019); none keeps
    it fixed."""
    kl_horizon: PositiveInt = 10_000
    """Samples over which it adapts."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of an entropy bonus."""

    importance_sampling: Literal["off", "token", "sequence", "token_mask", "sequence_mask"] = "token"
    """Correct for the sampler's log-probs being not quite the trainer's: weights truncated per token or per sequence,
    or tokens (IcePop) or whole sequences left out."""
    importance_low: NonNegativeFloat = 0.5
    """Masks leave out what has a ratio of trainer to sampler below this."""
    importance_high: PositiveFloat = 2.0
    """Weights are truncated here; masks leave out what is above."""

    equal_groups: Literal["keep", "drop", "resample"] = "keep"
    """Groups whose rewards are all equal teach nothing: keep them, leave them out, or draw other prompts for them
    (DAPO's dynamic sampling)."""
    max_resamples: PositiveInt = 4
    """With `resample`: rounds of further prompts before going on with fewer groups."""
    overlong_share: float = Field(default=0.0, ge=0, le=1)
    """Responses that end within this share of sampling.max_tokens before the limit lose up to 1 point, linearly (DAPO);
    0 is off."""
    normalize_rewards: Literal["none", "batch", "running"] = "none"
    """Give rewards mean 0 and variance 1 over the step, or over the run so far."""
    reward_clip: float | None = Field(default=None, gt=0)
    """Rewards are clipped to plus or minus this, after they were normalised; none is off."""
    missing_eos_penalty: NonNegativeFloat = 0.0
    """Taken off the reward of a response that ran into the token limit."""
    missing_eos_score: float | None = None
    """The reward of such a response, whatever it was; none is off."""

    value_clip: float | None = Field(default=0.2, gt=0)
    """The critic's value is clipped to within this of its value before the step; none is off."""
    critic_warmup: NonNegativeInt = 0
    """Steps in which only the critic learns; the policy's learning-rate schedule counts them."""
    ptx_coef: NonNegativeFloat = 0.0
    """Weight of the cross-entropy on `data.pretrain` in each optimizer step (PPO-ptx, Ouyang et al. 2022); 0 is off."""
    ptx_batch: PositiveInt = 32
    """Rows of it in each optimizer step."""

    @property
    def facts(self) -> Facts:
        optional = {"reference": self.kl_coef > 0, "critic": self.baseline == "gae"}
        return Facts(
            rows="prompts",
            needs=frozenset({"policy", "rollout", "reward", *(role for role, wanted in optional.items() if wanted)}),
            updates_per_step=self.epochs * self.mini_batches,
            rows_per_step=self.prompts_per_step,
            samples_per_prompt=self.group_size,
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.baseline in IN_GROUPS and self.group_size < 2:
            raise ValueError(f"baseline {self.baseline} compares samples of one prompt: group_size must be at least 2")
        if self.scale == "group_std" and self.baseline != "group_mean":
            raise ValueError(f"scale: group_std is for the baseline group_mean, not for {self.baseline}")
        if self.equal_groups != "keep" and self.baseline not in IN_GROUPS:
            raise ValueError(
                f"equal_groups: {self.equal_groups} is for the baselines {' and '.join(IN_GROUPS)}, not for "
                f"{self.baseline}"
            )
        if self.baseline == "greedy" and self.normalize_rewards != "none":
            raise ValueError(
                "normalize_rewards: the greedy answer's reward is no part of the statistics; set it to none, or scale "
                "to whiten"
            )
        if self.surrogate in ("token_ratio", "sequence_ratio") and self.clip_low == 1:
            raise ValueError(f"clip_low: 1 leaves {self.surrogate} open from below; set it below 1, as in 0.2")
        if self.kl_coef and self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator: the gradient of k1 in the loss is 0 on average; choose k2 or k3, or kl_in: reward"
            )
        if self.kl_target is not None:
            if not self.kl_coef:
                raise ValueError("kl_target adapts kl_coef, which must then start above 0")
            if 5 * self.kl_horizon <= self.prompts_per_step * self.group_size:
                raise ValueError(
                    f"kl_horizon: {self.kl_horizon} samples are too few for a step of "
                    f"{self.prompts_per_step * self.group_size}"
                )
        if self.missing_eos_score is not None and self.missing_eos_penalty:
            raise ValueError("missing_eos_penalty and missing_eos_score exclude each other")
        if self.importance_low >= self.importance_high:
            raise ValueError(
                f"importance_low must be below importance_high, not {self.importance_low} and {self.importance_high}"
            )
        if self.mini_batches > self.prompts_per_step * self.group_size:
            raise ValueError(
                f"mini_batches: {self.mini_batches} is more than the {self.prompts_per_step * self.group_size} samples "
                "of a step"
            )
        return self

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        defaults = {key: info.get_default() for key, info in type(self).model_fields.items()}
        changed = {key for key, value in vars(self).items() if value != defaults[key]}
        for key in changed & READ_WITH.keys():
            other, values = READ_WITH[key]
            if vars(self)[other] not in values:
                raise ValueError(
                    f"{key} has no effect: it goes with {other} of {', '.join(values)}, and {other} is "
                    f"{vars(self)[other]}"
                )
        for key in changed & READ_ABOVE_ZERO.keys():
            if not vars(self)[READ_ABOVE_ZERO[key]]:
                raise ValueError(f"{key} has no effect: {READ_ABOVE_ZERO[key]} is not set")
        return self


def preset(name: str, **defaults: Any) -> type[Settings]:
    """`Settings` with other defaults: what a paper chose. Every key can still be overridden."""
    fields: dict[str, Any] = {}
    for key, value in {"name": name, **defaults}.items():
        info = copy(Settings.model_fields[key])
        info.default = value
        fields[key] = (info.annotation, info)
    return create_model("Config", __base__=Settings, __module__=f"rlsys.methods.{name}", **fields)
