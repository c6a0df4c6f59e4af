"""Against a real server on this machine that does what a test tells it to."""

import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.fault_server import HEAD, LIMIT, SLOW, Act, Handler, Server, busy, drips, hangs, resets, says, serving
from support.one_by_one import one_by_one

from rlsys.config.actors import RewardSpec, ScoringConfig
from rlsys.errors import ConfigError
from rlsys.rewards import http
from rlsys.rewards.composite import WeightedSum
from rlsys.samples import Abstention, Prompt, RewardResult, Score, Trajectory

PATIENT = 10.0


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.url += "/score"
        yield server


@pytest.fixture
def ask(server: Server, sample) -> Iterator[Callable[..., RewardResult]]:
    """`ask(act, act, ..., setting=...)`: the result of one sample against a server that plays these acts."""
    made: list[http.Reward] = []

    def run(*acts: Act, **settings) -> RewardResult:
        server.acts, server.seen = list(acts), []
        made.append(
            http.Reward(
                http.Config(**{"url": server.url, "timeout": PATIENT, "retries": 0, "max_wait": 0.01} | settings)
            )
        )
        return made[-1].score(*sample("four", "4"))

    yield run
    for reward in made:
        reward.close()


def test_the_sample_goes_out_and_the_score_comes_back(server: Server):
    prompt = Prompt("train:1", "What is 2+2?", (1,), "4", fields={"level": "easy \ud800"})
    trajectory = Trajectory("s-7", "train:1", 0, [1, 2], [0, 1], [0.0, -0.5], [-1, 0], "stop", "four \u2713")
    server.acts = [says({"score": 2, "parts": {"right": 1.5, "short": -1}, "model": "x"})]
    reward = http.Reward(http.Config(url=server.url))
    assert reward.score(prompt, trajectory) == Score(2.0, {"right": 1.5, "short": -1.0})
    reward.close()
    [(path, headers, body)] = server.seen
    assert path == "/score"
    assert body == {
        "prompt": "What is 2+2?",
        "response": "four \u2713",
        "answer": "4",
        "fields": {"level": "easy \ud800"},
        "sample_id": "s-7",
    }
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


def test_the_service_may_abstain(ask):
    assert ask(says({"abstain": "no opinion\non this"})) == Abstention("no opinion on this")
    assert ask(says({"abstain": "", "score": 1})) == Abstention("the service gave no reason")
    assert ask(says({"abstain": "x" * 1000})) == Abstention("x" * 297 + "...")


@pytest.mark.parametrize(
    "fault", [says({}, 500), says({}, 503), says({}, 429), resets], ids=["500", "503", "429", "reset"]
)
def test_a_passing_fault_is_tried_again(ask, server: Server, fault: Act):
    assert ask(fault, fault, says({"score": 0.5}), retries=2) == Score(0.5)
    assert len(server.seen) == 3


def test_a_lasting_fault_is_an_abstention_after_the_last_try(ask, server: Server):
    assert ask(says({}, 503), retries=2) == Abstention("HTTP 503 (attempt 3)")
    assert len(server.seen) == 3
    result = ask(resets)
    assert isinstance(result, Abstention)
    assert result.reason.startswith(("ReadError", "RemoteProtocolError"))


def test_nobody_listens(ask):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        result = ask(says({}), url=f"http://127.0.0.1:{taken.getsockname()[1]}", retries=1)
    assert isinstance(result, Abstention)
    assert result.reason.startswith("ConnectError: ")
    assert result.reason.endswith("(attempt 2)")


def test_retry_after_is_obeyed_up_to_the_cap(ask, pauses: list[float]):
    assert ask(*busy(), says({"score": 1}), retries=5, max_wait=40) == Score(1.0)
    assert pauses[:4] == [0, 1, 40, 0]
    assert 25 < pauses[4] <= 30


def test_the_pause_doubles_up_to_the_cap_and_is_jittered(ask, pauses: list[float]):
    ask(says({}, 500, Retry_After="soon"), retries=5, max_wait=3)
    for pause, longest in zip(pauses, [0.5, 1, 2, 3, 3], strict=True):
        assert longest / 2 <= pause <= longest
    assert len({pause / longest for pause, longest in zip(pauses, [0.5, 1, 2, 3, 3], strict=True)}) > 1


@pytest.mark.parametrize("status", [400, 401, 404])
def test_the_clients_own_fault_is_not_tried_again(ask, server: Server, status: int):
    assert ask(says({"score": 1}, status), retries=3) == Abstention(f"HTTP {status}")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_refused(ask, server: Server, status: int):
    result = ask(says({"score": 1}, status, Location=server.url + "/other"), retries=3)
    assert result == Abstention(f"HTTP {status}: redirects are not followed; give the final url")
    assert [path for path, _, _ in server.seen] == ["/score"]


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_the_timeout_is_for_the_whole_attempt(ask, server: Server, slow: Act):
    start = time.monotonic()
    assert ask(slow, retries=1, timeout=LIMIT) == Abstention("no whole answer within 0.2 s (attempt 2)")
    assert 2 * LIMIT <= time.monotonic() - start < 5
    assert len(server.seen) == 2


def test_the_answer_is_read_up_to_the_cap(ask):
    answer = json.dumps({"score": 1}).encode()
    assert ask(says(answer), max_bytes=len(answer)) == Score(1.0)
    assert ask(says(answer + b" "), max_bytes=len(answer)) == Abstention(
        f"the answer is larger than {len(answer)} bytes"
    )
    endless = drips(HEAD + b"Connection: close\r\n\r\n" + b" " * 100_000, b" ")
    assert ask(endless, max_bytes=50_000, timeout=5) == Abstention("the answer is larger than 50000 bytes")


def test_a_compressed_answer_is_refused_unread(ask):
    bomb = zlib.compress(b" " * 10_000_000)
    assert ask(says(bomb, Content_Encoding="deflate")) == Abstention(
        "the answer is encoded (deflate), and only plain ones are read"
    )
    assert ask(says({"score": 1}, Content_Encoding="identity")) == Score(1.0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body: Invalid JSON"),
        (b"score: 1", "the body: Invalid JSON"),
        (b'{"score": 1', "the body: Invalid JSON"),
        (b"\xff\xfe", "the body: Invalid JSON"),
        (b"[" * 100_000, "the body: Invalid JSON"),
        (b"[1]", "the body: Input should be an object"),
        (b"{}", "neither score nor abstain"),
        (b'{"score": null}', "neither score nor abstain"),
        (b'{"score": "high"}', "score: Input should be a valid number"),
        (b'{"score": "1"}', "score: Input should be a valid number"),
        (b'{"score": true}', "score: Input should be a valid number"),
        (b'{"score": NaN}', "score: Input should be a finite number"),
        (b'{"score": -Infinity}', "score: Input should be a finite number"),
        (b'{"score": 1e999}', "score: Input should be a finite number"),
        (b'{"score": 1' + b"0" * 400 + b"}", "score: "),
        (b'{"score": 1, "parts": {"a": NaN}}', "parts.a: Input should be a finite number"),
        (b'{"score": 1, "parts": {"a": false}}', "parts.a: Input should be a valid number"),
        (b'{"abstain": 3}', "abstain: Input should be a valid string"),
    ],
)
def test_what_is_no_score_is_no_zero_either(ask, server: Server, body: bytes, reason: str):
    result = ask(says(body), retries=2)
    assert isinstance(result, Abstention)
    assert result.reason.startswith(f"bad answer: {reason}")
    assert "\n" not in result.reason
    assert len(server.seen) == 1


def test_the_token_is_sent_and_never_shown(ask, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCORER_KEY", "s3cret")
    echo = says({"abstain": "unknown key s3cret"})
    assert ask(echo, key_env="SCORER_KEY") == Abstention("unknown key ***")
    assert server.seen[0][1]["Authorization"] == "Bearer s3cret"
    assert ask(says({"score": 1, "parts": {"s3cret": 2}}), key_env="SCORER_KEY") == Score(1.0, {"***": 2.0})
    strange = says({"score": 1}, Content_Encoding="s3cret")
    bad = says({"score": 1, "parts": {"s3cret": "x"}})
    for act in (
        strange,
        bad,
        resets,
        says({}, 401, WWW_Authenticate="s3cret"),
        drips(b"s3cret s3cret\r\n\r\n", b"s3cret\r\n"),
    ):
        result = ask(act, key_env="SCORER_KEY")
        assert isinstance(result, Abstention)
        assert "s3cret" not in result.reason


@pytest.mark.parametrize(
    ("value", "message"), [(None, "is not set"), ("", "is not set"), ("s3cret\n", "has spaces, line ends")]
)
def test_a_token_that_can_not_be_sent(monkeypatch: pytest.MonkeyPatch, value: str | None, message: str):
    monkeypatch.delenv("SCORER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SCORER_KEY", value)
    with pytest.raises(ConfigError, match=f"args.key_env: .*SCORER_KEY {message}") as caught:
        http.Reward(http.Config(url="http://127.0.0.1", key_env="SCORER_KEY"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "must be http://"),
        ("file:///etc/passwd", "must be http://"),
        ("host:80/score", "must be http://"),
        ("http://", "must be http://"),
        ("http://host:port", "not a URL"),
        ("https://me:s3cret@host", "must not hold a user or password"),
    ],
)
def test_urls_that_are_refused_at_the_start(url: str, message: str):
    with pytest.raises(ConfigError, match=f"reward 'http': args.url: {message}") as caught:
        WeightedSum([RewardSpec(name="http", args={"url": url})], ScoringConfig())
    assert "s3cret" not in str(caught.value)


def test_the_environments_proxy_is_not_used(ask, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask(says({"score": 1})) == Score(1.0)


def test_many_samples_at_once_each_get_their_own_score(server: Server, sample):
    """16 threads of the composite reward; the server answers with the number in the response, and fails for every tenth
    at first."""
    failed: set[str] = set()

    class Echo(Handler):
        def do_POST(self) -> None:
            number = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["response"]
            fails = number.endswith("0") and number not in failed
            failed.add(number)
            says({"score": int(number)}, 500 if fails else 200)(self)

    server.RequestHandlerClass = Echo
    rewards = WeightedSum(
        [RewardSpec(name="http", weight=2, args={"url": server.url, "max_wait": 0.01})], ScoringConfig(timeout=20)
    )
    results = one_by_one(rewards, [sample(str(number)) for number in range(60)])
    rewards.close()
    assert results == [Score(2.0 * number, {"http": float(number)}) for number in range(60)]


def test_closing_ends_samples_in_work(server: Server, sample):
    entered = threading.Event()

    def hangs_and_says_so(handler: Handler) -> None:
        entered.set()
        hangs(handler)

    server.acts = [hangs_and_says_so]
    reward = http.Reward(http.Config(url=server.url))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(reward.score, *sample("x"))
        assert entered.wait(5)
        reward.close()
        assert call.result(5) == Abstention("the connection was closed")
    assert reward.score(*sample("x")) == Abstention("the connection was closed")
    reward.close()
    assert "http-reward" not in [thread.name for thread in threading.enumerate()]
