import subprocess
import sys
import threading

import psutil
import pytest

from rlsys.rewards.math import Config, Reward
from rlsys.samples import Abstention, Score

HANGS = "$9^{9^{9^{9}}}$"
LIMIT = 1.0


@pytest.fixture(scope="module")
def reward():
    reward = Reward(Config(time_limit=LIMIT, processes=1))
    yield reward
    reward.close()


@pytest.mark.parametrize(
    ("answer", "response", "wanted"),
    [
        ("18", "She makes 9 * 2 = <<9*2=18>>18 dollars.\n#### 18", 1.0),
        ("18", "so it is 19", 0.0),
        ("1/2", r"\boxed{\frac{2}{4}}", 1.0),
        ("1,234", "The answer is 1234", 1.0),
        ("3x+1", "$1+3x$", 1.0),
        ("18", "I do not know", 0.0),
        ("18", "", 0.0),
    ],
)
def test_equality_is_mathematical_and_an_answer_without_mathematics_is_wrong(
    reward, sample, answer: str, response: str, wanted: float
):
    assert reward.score(*sample(response, answer)) == Score(wanted)


def test_what_can_not_be_checked_has_no_score(reward, sample):
    assert reward.score(*sample("1", None)) == Abstention("the prompt has no ground truth")
    assert reward.score(*sample("1", r"\frac{")) == Abstention(
        r"the ground truth '\\frac{' can't be parsed as mathematics"
    )


def test_a_call_that_hangs_is_killed_and_the_next_one_works(reward, sample):
    before = {child.pid for child in psutil.Process().children()}
    assert reward.score(*sample(HANGS, "2")) == Abstention("timed out after 1 s")
    assert reward.score(*sample("2", "2")) == Score(1.0)
    assert len({child.pid for child in psutil.Process().children()} - before) == 1, (
        "one new worker in place of the killed one"
    )


def test_a_worker_killed_from_outside_is_replaced(reward, sample):
    (worker,) = [child for child in psutil.Process().children() if "rlsys.rewards.math_worker" in child.cmdline()]
    worker.kill()
    psutil.wait_procs([worker], timeout=5)
    results = [reward.score(*sample("2", "2")) for _ in range(2)]
    assert results[-1] == Score(1.0)


def test_many_threads_share_the_workers(reward, sample):
    results = {}

    def check(number: int) -> None:
        results[number] = reward.score(*sample(f"it is {number % 2}", "1"))

    threads = [threading.Thread(target=check, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {number: Score(float(number % 2)) for number in range(20)}


def test_no_worker_outlives_a_killed_parent():
    program = (
        "import threading; from rlsys.rewards.worker_pool import WorkerPool\n"
        "pool = WorkerPool('rlsys.rewards.math_worker', 2, 3)\n"
        "pool.call({'gold': '1', 'response': '1'}); pool.call({'gold': '1', 'response': '1'})\n"
        f"threading.Thread(target=pool.call, args=({{'gold': '1', 'response': {HANGS!r}}},)).start()\n"
        "print([worker._process.pid for worker in pool._workers], flush=True)\n"
        "__import__('os').kill(__import__('os').getpid(), 9)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    ).stdout
    workers = [psutil.Process(pid) for pid in eval(out) if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(workers, timeout=8)
    assert not alive
