"""What is kept, what is asked again, and files that are no cache."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rlsys.errors import JudgeOutage, RunError
from rlsys.judging.backend import Failure, Reply, Request
from rlsys.judging.endpoint import cache
from rlsys.judging.endpoint.cache import CachedBackend


@dataclass
class Counting:
    """Answers with how many requests it was asked before; `fails` are questions that have no reply."""

    identity: str = "judge 1"
    fails: set[str] = field(default_factory=set)
    asked: list[list[Request]] = field(default_factory=list)
    away_after: int | None = None

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        count = sum(map(len, self.asked))
        if self.away_after is not None and count >= self.away_after:
            raise JudgeOutage("away")
        self.asked.append(list(requests))
        return [
            Failure("no")
            if said(request) in self.fails
            else Reply(str(count + i), "stop", {"A": -0.1 - i}, 10, 2, 1.5, 0.25, version="v")
            for i, request in enumerate(requests)
        ]

    @property
    def count(self) -> int:
        return sum(map(len, self.asked))


def said(request: Request) -> str:
    return request.messages[0]["content"]


def question(text: str = "?", **settings: Any) -> Request:
    return Request(({"role": "user", "content": text},), **settings)


def texts(replies: Sequence[Reply | Failure]) -> list[str]:
    return [reply.text if isinstance(reply, Reply) else reply.reason for reply in replies]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "judge_cache.sqlite"


def test_a_reply_is_kept_and_costs_nothing_again(path: Path):
    backend = Counting()
    asked = CachedBackend(backend, path)
    first = asked.ask([question("a"), question("b")])
    assert first == [
        Reply("0", "stop", {"A": -0.1}, 10, 2, 1.5, 0.25, False, "v"),
        Reply("1", "stop", {"A": -1.1}, 10, 2, 1.5, 0.25, False, "v"),
    ]
    asked.close()
    later = CachedBackend(Counting(), path)  # another run
    assert later.ask([question("b"), question("c"), question("a")]) == [
        Reply("1", "stop", {"A": -1.1}, 10, 2, 0.0, 0.0, True, "v"),
        Reply("0", "stop", {"A": -0.1}, 10, 2, 1.5, 0.25, False, "v"),
        Reply("0", "stop", {"A": -0.1}, 10, 2, 0.0, 0.0, True, "v"),
    ]
    assert later.identity == "judge 1"


def test_log_probs_come_back_to_the_bit(path: Path):
    class Odd(Counting):
        def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
            return [Reply("\ud800✓", "stop", {"A": -0.1 - 1e-17, "B": -1 / 3, "10": -1e-300})]

    [first] = CachedBackend(Odd(), path).ask([question()])
    [again] = CachedBackend(Odd(), path).ask([question()])
    assert isinstance(first, Reply)
    assert replace(first, cached=True) == again


TEXT = {"max_tokens": 9, "temperature": 0.5, "seed": 1, "schema": {"type": "object"}}


@pytest.mark.parametrize(
    "change", [{"max_tokens": 8}, {"temperature": 0.25}, {"seed": 2}, {"schema": None}, {"labels": ("A",)}]
)
def test_what_changes_a_reply_is_asked_anew(path: Path, change: dict[str, Any]):
    backend = Counting()
    CachedBackend(backend, path).ask(
        [question(**TEXT), question(**(TEXT | change)), question("!", **TEXT), question(**TEXT)]
    )
    assert backend.count == 3


def test_another_model_is_asked_anew(path: Path):
    for identity in ("judge 1", "judge 2", "judge 1"):
        backend = Counting(identity)
        [reply] = CachedBackend(backend, path).ask([question()])
        assert backend.count == (0 if isinstance(reply, Reply) and reply.cached else 1)
    assert backend.count == 0


def test_what_changes_no_reply_is_not_asked_anew(path: Path):
    backend = Counting()
    greedy = [question(seed=seed) for seed in (1, 2)]
    labels = [
        question(labels=labels, seed=seed, max_tokens=seed) for seed, labels in enumerate([("A", "B"), ("B", "A")])
    ]
    CachedBackend(backend, path).ask([*greedy, *labels])
    assert backend.asked == [[greedy[0], labels[0]]]


def test_equals_in_one_call_are_asked_and_paid_for_once(path: Path):
    backend = Counting()
    replies = CachedBackend(backend, path).ask([question("a"), question("b"), question("a")])
    assert [(reply.text, reply.cost, reply.cached) for reply in replies if isinstance(reply, Reply)] == [
        ("0", 0.25, False),
        ("1", 0.25, False),
        ("0", 0.0, True),
    ]


def test_fresh_goes_past_it_both_ways(path: Path):
    backend = Counting()
    asked = CachedBackend(backend, path)
    asked.ask([question()])
    replies = asked.ask([question(fresh=True), question(fresh=True), question()])
    assert texts(replies) == ["1", "2", "0"]
    assert [reply.cached for reply in replies if isinstance(reply, Reply)] == [False, False, True]
    assert texts(CachedBackend(backend, path).ask([question()])) == ["0"]


def test_failures_are_not_kept(path: Path):
    backend = Counting(fails={"bad"})
    asked = CachedBackend(backend, path)
    assert asked.ask([question("bad"), question("good"), question("bad")])[::2] == [Failure("no"), Failure("no")]
    backend.fails.clear()
    assert texts(asked.ask([question("bad")])) == ["2"]


def test_an_outage_loses_no_more_than_a_portion(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "PORTION", 4)
    backend = Counting(away_after=8)
    requests = [question(str(number)) for number in range(10)]
    with pytest.raises(JudgeOutage):
        CachedBackend(backend, path).ask(requests)
    later = Counting()
    replies = CachedBackend(later, path).ask(requests)
    assert texts(replies) == [*map(str, range(8)), "0", "1"]
    assert later.asked == [requests[8:]]


def fill(path: Path, start: int) -> None:
    asked = CachedBackend(Counting(), path)
    for number in range(start, start + 30):
        asked.ask([question(str(number))])


def test_processes_share_a_file(path: Path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(path, start)) for start in (0, 15)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    backend = Counting()
    CachedBackend(backend, path).ask([question(str(number)) for number in range(46)])
    assert backend.asked == [[question("45")]]


def test_files_that_are_no_cache_are_left_alone(tmp_path: Path):
    text, other, folder = tmp_path / "text", tmp_path / "other", tmp_path / "folder"
    text.write_text("not a database, and long enough to look into " * 30)
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE replies (something)")
    folder.mkdir()
    before = other.read_bytes()
    for path, message in (
        (text, "can't be used .file is not a database."),
        (other, "is no judge cache"),
        (folder, "can't be used"),
    ):
        with pytest.raises(RunError, match=message) as caught:
            CachedBackend(Counting(), path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert other.read_bytes() == before
    assert text.read_text().startswith("not a database")


def test_a_damaged_file_is_an_error(path: Path):
    CachedBackend(Counting(), path).ask([question()])
    with sqlite3.connect(path) as file:
        file.execute("UPDATE replies SET reply = '{\"text\": 1'")
    with pytest.raises(RunError, match="the judge's cache can't be used"):
        CachedBackend(Counting(), path).ask([question()])
