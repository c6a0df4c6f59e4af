"""Sampling through real engines: what a trajectory says is what happened, and groups come as they finish."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from support.engine_setup import SPEC, Setup, open_sync, start_engines, start_trainer
from transformers import AutoModelForCausalLM

from actors.rollout import RolloutHandle, environment
from rlsys.config.actors import RolloutConfig
from rlsys.config.sampling import Sampling
from rlsys.errors import ActorError, ConfigError, WaitTimeout, WeightSyncError
from rlsys.models.load import load_tokenizer
from rlsys.samples import Prompt

EOS = 258
STOPS = (65, 260)
PROMPTS = [Prompt(f"p{i}", "", tuple((17 * i + 3 * j) % 250 for j in range(12)), epoch=i % 2) for i in range(40)]


def test_environment_of_a_cpu_engine() -> None:
    eager = environment(RolloutConfig(threads=3, kv_cache_gib=2), on_gpu=False)
    assert (eager["OMP_NUM_THREADS"], eager["VLLM_CPU_KVCACHE_SPACE"], eager["TORCHDYNAMO_DISABLE"]) == ("3", "2", "1")
    assert "TORCHDYNAMO_DISABLE" not in environment(RolloutConfig(eager=False), on_gpu=False)
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment(RolloutConfig(), on_gpu=True)


@pytest.mark.engine
def test_trajectories_say_what_was_sampled(setup: Setup, model_path: Path) -> None:
    tokenizer = load_tokenizer(model_path)
    groups = list(setup.rollout.generate(PROMPTS, Sampling(1.0, 1.0, 0, 48, 3), tag="step-1"))
    assert sorted(group.prompt.prompt_id for group in groups) == sorted(prompt.prompt_id for prompt in PROMPTS)
    samples = [(group.prompt, sample) for group in groups for sample in group.trajectories]
    assert len({sample.sample_id for _, sample in samples}) == 120
    reasons = {sample.finish_reason for _, sample in samples}
    assert reasons == {"stop", "length"}  # with random weights each of 262 tokens is about as likely as EOS
    for prompt, sample in samples:
        response = sample.token_ids[12:]
        assert sample.token_ids[:12] == list(prompt.token_ids)
        assert sample.loss_mask == [0] * 12 + [1] * len(response)
        assert (response[-1] == EOS) == (sample.finish_reason == "stop")
        assert EOS not in response[:-1]
        assert len(response) == 48 or sample.finish_reason == "stop"
        assert sample.text == tokenizer.decode(response, skip_special_tokens=True)
        assert all(log_prob < 0 for log_prob in sample.log_probs[12:])
        assert sample.log_probs[:12] == [0.0] * 12


@pytest.mark.engine
def test_log_probs_are_at_the_sampling_distribution(setup: Setup) -> None:
    """Among the two most likely tokens, each has its share of those two; a cold distribution gives the first nearly
    all."""
    two = next(setup.rollout.generate(PROMPTS[:1], Sampling(1.0, 1.0, 2, 1, 64), tag="two"))
    chances = {sample.token_ids[-1]: sample.log_probs[-1] for sample in two.trajectories}
    assert len(chances) == 2
    assert sum(2.718281828459045**log_prob for log_prob in chances.values()) == pytest.approx(1.0, abs=1e-5)
    cold = next(setup.rollout.generate(PROMPTS[:1], Sampling(0.001, 1.0, 0, 1, 1), tag="cold"))
    assert cold.trajectories[0].log_probs[-1] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.engine
def test_a_queue_of_one_group_still_gets_everything(setup: Setup) -> None:
    config = replace(SPEC, config=RolloutConfig(queue_groups=1))
    narrow = RolloutHandle(setup.rollout.fleet, config, setup.rollout.vocab_size, setup.rollout.timeout)
    wide = {
        group.prompt.prompt_id: group
        for group in setup.rollout.generate(PROMPTS, Sampling(1.0, 1.0, 0, 8, 2), tag="queue")
    }
    assert {
        group.prompt.prompt_id: group for group in narrow.generate(PROMPTS, Sampling(1.0, 1.0, 0, 8, 2), tag="queue")
    } == wide


@pytest.mark.engine
def test_a_prompt_without_room_is_named(setup: Setup) -> None:
    long = Prompt("long", "", tuple(range(40)))
    with pytest.raises(ConfigError, match=r"prompt long: 40 tokens and a response of up to 41 exceed the sampler's 80"):
        list(setup.rollout.generate([*PROMPTS[:2], long], Sampling(1.0, 1.0, 0, 41, 1), tag="long"))
    assert len(list(setup.rollout.generate([long], Sampling(1.0, 1.0, 0, 40, 1), tag="fits"))) == 1


@pytest.mark.engine
def test_a_slow_engine_is_a_timeout_that_says_what_for(setup: Setup) -> None:
    impatient = RolloutHandle(setup.rollout.fleet, SPEC, setup.rollout.vocab_size, timeout=0.001)
    with pytest.raises(WaitTimeout, match=r"waited 0\.001 s for a finished group of slow from sampling engine 0, 1"):
        list(impatient.generate(PROMPTS, Sampling(1.0, 1.0, 0, 60, 4), tag="slow"))


@pytest.fixture(scope="session")
def wide_path(model_path: Path) -> Path:
    """Beside the other one: a model with 38 embeddings more than its tokenizer has tokens."""
    model = AutoModelForCausalLM.from_pretrained(model_path)
    model.resize_token_embeddings(300)
    model.save_pretrained(path := model_path.with_name("wide"))
    load_tokenizer(model_path).save_pretrained(path)
    return path


def check_stops_and_unknown_tokens(rollout: RolloutHandle, model: Path) -> None:
    """`STOPS` end samples as EOS does, trained and out of sight; ids that the tokenizer lacks are in sight, and
    kept."""
    tokenizer = load_tokenizer(model)
    groups = list(rollout.generate(PROMPTS, Sampling(1.0, 1.0, 0, 32, 4), tag="ends"))
    samples = [sample for group in groups for sample in group.trajectories]
    responses = [sample.token_ids[12:] for sample in samples]
    assert {response[-1] for response in responses} >= {EOS, *STOPS}
    for sample, response in zip(samples, responses, strict=True):
        assert (response[-1] in {EOS, *STOPS}) == (sample.finish_reason == "stop")
        assert {EOS, *STOPS}.isdisjoint(response[:-1])
        assert sample.loss_mask[12:] == [1] * len(response)
        assert sample.unknown_tokens == sum(token >= 262 for token in response)
        assert re.findall(r"<\|unknown:(\d+)\|>", sample.text) == [str(token) for token in response if token >= 262]
        if not sample.unknown_tokens:
            assert sample.text == tokenizer.decode(
                [token for token in response if token not in STOPS], skip_special_tokens=True
            )
    assert sum(sample.unknown_tokens for sample in samples) > 0


@pytest.mark.engine
@pytest.mark.slow
def test_an_engine_from_birth_to_death(ray_session: None, wide_path: Path) -> None:
    """Without proven weights it does not sample; when it dies, whoever waits for it is told so."""
    trainer, rollout = start_trainer(wide_path), start_engines(wide_path, 1, stop_ids=STOPS, restarts=0)
    with pytest.raises(WeightSyncError, match="sync them before sampling"):
        list(rollout.generate(PROMPTS, Sampling(1.0, 1.0, 0, 8, 1), tag="early"))
    sync = open_sync(trainer, rollout)
    sync.sync(0)
    check_stops_and_unknown_tokens(rollout, wide_path)
    groups = rollout.generate(PROMPTS * 4, Sampling(1.0, 1.0, 0, 64, 64), tag="dies")
    next(groups)
    ray.kill(rollout.actors[0])
    with pytest.raises(ActorError, match=r"RolloutActor died.*sampling engine 0"):
        list(groups)
    with pytest.raises(ActorError, match="RolloutActor died"):
        sync.sync(1)
