"""Sampling engines that really die: nothing that was asked for is lost or sampled twice, and their successors serve
nothing before they hold proven weights."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
from support.command_line import title
from support.engine_setup import SPEC, Setup

from actors.fleet import Fleet
from actors.rollout import RolloutHandle
from rlsys.config.sampling import Sampling
from rlsys.errors import ActorDied
from rlsys.samples import Group, Prompt

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROMPTS = [Prompt(f"p{i}", "", tuple((17 * i + 3 * j) % 250 for j in range(12))) for i in range(48)]
SAMPLING = Sampling(1.0, 1.0, 0, 60, 4)
STALL = 4.0
PARTED = 0.03
"""Share of samples that may go another way from some token on."""
AGAIN = 10.0
"""Seconds until what a dead engine had not finished is asked of others."""


def engines() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if title(one).startswith("ray::RolloutActor")]


def sampled(setup: Setup, *kills: int) -> dict[str, Group]:
    """All groups by prompt, none twice; after the first group comes, so many engines get each signal."""
    found: dict[str, Group] = {}
    waiting = list(kills)
    for group in setup.rollout.generate(PROMPTS, SAMPLING, tag="fleet"):
        assert group.prompt.prompt_id not in found
        found[group.prompt.prompt_id] = group
        if waiting:
            for process, number in zip(engines(), waiting, strict=False):
                process.send_signal(number)
            waiting = []
    return found


def check_alike(groups: dict[str, Group], whole: dict[str, Group]) -> None:
    """The same samples, by the same weights. Another engine has other prompts beside them, so log-probs differ in the
    last bits, and of 11,520 tokens a few may tip over; before that nothing may differ."""
    assert groups.keys() == whole.keys()
    pairs = [pair for name in whole for pair in zip(groups[name].trajectories, whole[name].trajectories, strict=True)]
    parted = 0
    for one, other in pairs:
        assert one.sample_id == other.sample_id
        tokens = [*zip(one.token_ids, other.token_ids, strict=False)]
        common = next((place for place, (mine, yours) in enumerate(tokens) if mine != yours), len(tokens))
        assert one.log_probs[:common] == pytest.approx(other.log_probs[:common], abs=1e-4)
        parted += one.token_ids != other.token_ids
    assert parted <= len(pairs) * PARTED


@pytest.fixture(scope="module")
def whole(setup: Setup) -> dict[str, Group]:
    """Undisturbed."""
    found = sampled(setup)
    assert len(found) == len(PROMPTS)
    return found


@pytest.mark.parametrize("kills", [[signal.SIGKILL], [signal.SIGKILL, signal.SIGKILL]], ids=["one", "both"])
def test_what_a_dead_engine_has_not_finished_is_sampled_again_alike(
    setup: Setup, whole: dict[str, Group], kills: list[int]
):
    check_alike(sampled(setup, *kills), whole)
    told = [setup.rollout.fleet.told.pop(0) for _ in kills]
    assert all("actor RolloutActor died" in line and line.endswith("a successor takes its place") for line in told)
    assert setup.rollout.fleet.told == []
    setup.send()
    assert len(engines()) == 2
    check_alike(sampled(setup), whole)


def test_an_engine_that_hangs_is_given_up_at_its_own_limit(setup: Setup, whole: dict[str, Group]):
    fleet = setup.rollout.fleet
    before, fleet.stall = fleet.stall, STALL
    try:
        started = time.monotonic()
        check_alike(sampled(setup, signal.SIGSTOP), whole)
        assert time.monotonic() - started < STALL + AGAIN
        assert f"waited {STALL:g} s for a sign of life from sampling engine" in fleet.told.pop()
        setup.send()  # the successor joins
        engines()[0].send_signal(signal.SIGSTOP)
        setup.send()  # it hangs between two calls
        assert f"waited {STALL:g} s for a sign of life from sampling engine" in fleet.told.pop()
    finally:
        fleet.stall = before
    check_alike(sampled(setup), whole)


def test_an_engine_that_dies_between_two_buckets_of_weights_leaves_none_unproven(setup: Setup, whole: dict[str, Group]):
    setup.trainer.actors[0].set_fault.remote("killed")
    setup.send()
    assert "actor RolloutActor died" in setup.rollout.fleet.told.pop()
    found = sampled(setup)
    check_alike(found, whole)
    versions = {one.policy_versions[-1] for group in found.values() for one in group.trajectories}
    assert versions == {setup.version}


def test_without_successors_a_death_is_told_by_name(setup: Setup, whole: dict[str, Group]):
    alone = RolloutHandle(Fleet(setup.rollout.actors, 60, 60), SPEC, setup.rollout.vocab_size, setup.rollout.timeout)
    stream = alone.generate(PROMPTS, SAMPLING, tag="alone")
    next(stream)
    engines()[0].kill()
    with pytest.raises(ActorDied, match=r"^actor RolloutActor died: .+ from sampling engine \d\)$"):
        list(stream)
    setup.send()
    check_alike(sampled(setup), whole)
    setup.rollout.fleet.told.clear()
