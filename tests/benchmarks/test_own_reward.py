import re

import pytest

from benchmarks import own_reward


def test_both_ways_score_alike_and_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name, value in (("GROUPS", 3), ("TOKENS", (4,)), ("REPEATS", 2)):
        monkeypatch.setattr(own_reward, name, value)
    own_reward.main()
    line = r"    4 tokens: +\d+ us a sample in the actor, +\d+ us in a process, ratio \d+\.\d\d\n"
    assert re.fullmatch(line, capsys.readouterr().out)
