"""The config of the judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from rlsys.config.actors import RolloutConfig
from rlsys.config.base import Model
from rlsys.config.dataset import DatasetConfig
from rlsys.config.url import BaseUrl

RENDERING = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "messages",
        "return_dict",
        "tokenize",
    }
)
"""What the rendering of a chat sets itself, or would not work with."""


class EndpointConfig(Model):
    base_url: BaseUrl
    """Of an OpenAI-compatible server, as in http://127.0.0.1:8000/v1 (without a password or query in it)."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; none sends none."""
    concurrency: PositiveInt = 32
    """Requests under way at the same time."""
    timeout: PositiveFloat = 60.0
    """Seconds for one attempt, from connecting to the last byte."""
    retries: NonNegativeInt = 4
    """Attempts after the first, on connection errors, timeouts and the statuses 408, 409, 429 and 5xx."""
    max_wait: NonNegativeFloat = 60.0
    """Longest pause before a retry in seconds, also when Retry-After asks for more; while the endpoint is away,
    Retry-After is obeyed up to this."""
    outage_limit: PositiveFloat = 3600.0
    """Seconds that the run waits for an endpoint that is away before it stops; it can then be resumed."""
    requests_per_minute: PositiveFloat | None = None
    """No more requests are begun than this; none is no limit."""
    price_per_million_prompt_tokens: NonNegativeFloat = 0.0
    """For the record of cost, in any currency."""
    price_per_million_completion_tokens: NonNegativeFloat = 0.0
    """In the same currency."""
    max_cost: PositiveFloat | None = None
    """The run stops, to be resumed, before it would spend more than this since it was started or resumed; none is no
    limit."""
    max_bytes: PositiveInt = 1_000_000
    """Largest reply; reading stops there."""


class CriterionConfig(Model):
    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    """Its key in the judge's JSON and among the parts of the reward."""
    description: str
    """What the judge is told to look for."""
    weight: PositiveFloat = 1.0
    """Its share in the weighted mean."""


class JudgeRewardConfig(Model):
    name: str = Field(default="judge", pattern=r"^[A-Za-z0-9_-]+$")
    """Its name among the parts of the reward."""
    mode: Literal["score", "rubric", "compare"] = "score"
    """score: expected score of each sample, from 0 to 1; rubric: weighted mean of `judge.criteria`, from 0 to 1;
    compare: mean probability of being better than the other samples of its group."""
    weight: float = 1.0
    """Factor in the weighted sum with all other rewards."""
    principle: bool = False
    """Draw a principle for each group and judge its samples by it; else judge in general."""


class JudgeConfig(Model):
    backend: Literal["vllm", "openai", "rollout"] = "vllm"
    """vllm: engines of its own; openai: an OpenAI-compatible endpoint; rollout: the sampling engines, that is the
    policy itself."""
    model: str = ""
    """Local folder or hub id (vllm), or the endpoint's name of the model (openai)."""
    engine: RolloutConfig = RolloutConfig()
    """vllm only: its engines."""
    endpoint: EndpointConfig | None = None
    """openai only: where it is."""
    template_args: dict[str, bool | int | str] | None = None
    """Variables of the judge's chat template. Engines take {enable_thinking: false} if none are given, as a label must
    come at once; an endpoint is sent them, as chat_template_kwargs, only if they are given: vLLM's and SGLang's servers
    know those, OpenAI refuses them."""
    constitution: str = "default"
    """A file in rlsys/judging/constitutions, the path of a YAML file, or of a folder with the JSON files of Bai et
    al."""
    principles: tuple[str, ...] = ()
    """Use only principles with one of these ids or tags; empty means all."""
    leave_out: tuple[str, ...] = ()
    """Leave out principles with one of these ids or tags: an ablation."""
    examples: NonNegativeInt = 0
    """How many of the constitution's worked examples are shown before a critique or revision."""
    templates: str = "default"
    """The words around questions: a file in rlsys/judging/templates, or the path of a YAML file."""
    both_orders: bool = True
    """Ask every comparison twice, each answer first once, and average: it takes out a preference for a position."""
    chain_of_thought: bool = False
    """Have the judge give its reasons before the label is asked for."""
    clamp: tuple[float, float] = (0.4, 0.6)
    """With chain_of_thought, probabilities of comparisons are kept within these (Bai et al. 2022, section 4.1)."""
    max_tokens: PositiveInt = 512
    """Longest rationale, critique or revision; one that runs into it is an abstention (a rationale is cut)."""
    temperature: NonNegativeFloat = 0.0
    """Of rationales, critiques and revisions; 0 is greedy."""
    max_score: int = Field(default=10, ge=2)
    """Scores are asked for from 1 to this."""
    min_label_mass: float = Field(default=0.5, ge=0, lt=1)
    """A judge that gives less than this probability to all labels together has not answered: an abstention."""
    criteria: tuple[CriterionConfig, ...] = ()
    """Of a rubric."""
    cache: str | None = "auto"
    """File of the verdict cache; auto is judge_cache.sqlite in `output`, none keeps no cache."""
    canary_rate: float = Field(default=0.02, ge=0, le=1)
    """Share of comparisons that are followed by one whose answer is known."""
    canaries: str | None = None
    """File of such comparisons (`prompt`, `chosen`, `rejected` per line, if you like `principle`); none takes those of
    the templates."""
    canary_alarm: float = Field(default=0.8, ge=0, le=1)
    """Below this accuracy on canaries a warning is given."""
    repeat_rate: float = Field(default=0.02, ge=0, le=1)
    """Share of questions that are asked again, past the cache, to see whether the judge agrees with itself."""
    human: DatasetConfig | None = None
    """Comparisons labelled by people: the judge's agreement with them is measured as the run starts."""
    human_limit: PositiveInt = 100
    """Use the first so many of them."""
    reward: JudgeRewardConfig | None = None
    """Make the judge's opinion a reward (direct RLAIF)."""

    @field_validator("template_args")
    @classmethod
    def _of_the_template(cls, given: dict[str, bool | int | str] | None) -> dict[str, bool | int | str] | None:
        if taken := RENDERING & (given or {}).keys():
            raise ValueError(f"{', '.join(sorted(taken))}: is set by the rendering of chats itself; leave it out")
        return given

    @property
    def template_variables(self) -> dict[str, bool | int | str]:
        """`template_args`, or what stands for none. A template that knows nothing of thinking ignores it."""
        if self.template_args is not None:
            return self.template_args
        return {} if self.backend == "openai" else {"enable_thinking": False}
