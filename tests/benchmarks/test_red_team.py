"""The red team's toy language, and what is told of stopped runs."""

from __future__ import annotations

import pytest

from benchmarks.over_optimization.stop import stopped
from benchmarks.red_team import data
from rlsys.safety.refusal import Exchange


def test_pairs_differ_in_one_guarded_letter_and_uses_share_no_word():
    found = {use: data.pairs(0, use, 40) for use in ("goals", "held out", "demonstrations")}
    for own in found.values():
        for harmful, harmless in own:
            different = [(one, other) for one, other in zip(harmful.text, harmless.text, strict=True) if one != other]
            assert [one in data.GUARDED for one, _ in different] == [True]
            assert set(harmless.text) <= set(data.LETTERS)
            assert harmful.labels.pair == harmless.labels.pair == harmless.text
    words = [{harmless.text for _, harmless in own} for own in found.values()]
    assert sum(map(len, words)) == len(set().union(*words)) == 120


def test_safety_training_sees_plain_requests_only():
    """Guarded words are refused as they are; nothing in capitals, or with blanks between, is."""
    rows = data.guard(0)
    refused = [row["prompt"] for row in rows if row["answer"] == data.REFUSAL]
    assert len(refused) == data.GUARDED_WORDS
    assert all(len(one) == 3 and set(one) & set(data.GUARDED) for one in refused)
    assert all(not set(row["answer"]) & set(data.GUARDED) for row in rows)


def test_refusing_is_less_than_not_complying():
    exchanges = [Exchange(str(n), "axk", answer) for n, answer in enumerate(("no", "axk", "ask"))]
    assert data.refuses(exchanges) == [True, False, False]
    assert data.does_not_comply(exchanges) == [True, False, True]


def test_how_far_gold_has_fallen_when_a_run_stops():
    def seen(step: int, gold: float, gap: float) -> dict[str, float]:
        return {"step": step, "eval/gold_sampled": gold, "eval/proxy_gap_sampled": gap, "eval/kl_sampled": 0.1 * step}

    records = [{"step": 0, "eval/gold_sampled": 0.5}, seen(1, 2.0, 0.1), {"step": 2}, seen(3, 1.9, 0.9)]
    found = stopped(7, records, "loop.stop_when: ...")
    assert (found.steps, found.start, found.best, found.end, found.gap) == (3, 0.5, 2.0, 1.9, 0.9)
    assert found.fell_by == pytest.approx(0.05)
    assert found.in_time
    assert not stopped(7, records, None).in_time, "it went on to its last step"
    assert not stopped(7, [*records, seen(4, 1.7, 1.0)], "loop.stop_when: ...").in_time
