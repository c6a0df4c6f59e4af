"""A judge behind an endpoint, in an actor of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chat_bodies import label
from support.fault_server import Server, says, serving

from actors.spawn_judge import spawn_judge
from rlsys.config.actors import RolloutConfig
from rlsys.config.experiment import ClusterConfig
from rlsys.config.judge import EndpointConfig, JudgeConfig
from rlsys.errors import ConfigError
from rlsys.judging.asking.questions import Answer, Pair
from rlsys.samples import Score

pytestmark = [pytest.mark.engine, pytest.mark.slow]
PAIR = Pair("q", "Hello?", Answer("a", "good"), Answer("b", "bad"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.acts = [says(label(A=0.75, B=0.25))]
        yield server


def test_it_takes_one_cpu_and_gives_the_template_its_variables(ray_session: None, server: Server, tmp_path: Path):
    """The engines' threads, more than there are CPUs anywhere, are none of its business."""
    config = JudgeConfig(
        backend="openai",
        model="judge",
        endpoint=EndpointConfig(base_url=server.url),
        engine=RolloutConfig(threads=100_000),
        template_args={"enable_thinking": False},
        both_orders=False,
    )
    with spawn_judge(config, ClusterConfig(start_timeout=60.0), tmp_path, seed=0, timeout=60.0) as judge:
        (opinion,) = judge.compare([PAIR])
    assert isinstance(opinion.result, Score)
    assert opinion.result.value == pytest.approx(0.75)
    assert judge.identity == f'{server.url} judge {{"enable_thinking": false}}'
    assert {str(body["chat_template_kwargs"]) for _, _, body in server.seen} == {"{'enable_thinking': False}"}


def test_a_key_that_the_actor_does_not_have(
    ray_session: None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ray's processes have the environment that Ray was started in."""
    monkeypatch.setenv("JUDGE_KEY_SET_LATE", "s3cret")
    endpoint = EndpointConfig(base_url=server.url, key_env="JUDGE_KEY_SET_LATE")
    config = JudgeConfig(backend="openai", model="judge", endpoint=endpoint)
    with (
        pytest.raises(
            ConfigError,
            match=r"JUDGE_KEY_SET_LATE is not set; export it with the bearer token where Ray runs its actors: here, ",
        ),
        spawn_judge(config, ClusterConfig(), tmp_path, seed=0, timeout=60.0),
    ):
        pass
