import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.command_line import title

from rlsys.workers.pool import CallFailed, Worker, WorkerPool

MODULE = "support.hanging_worker"


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(Worker(MODULE, 1.0), 1)
    yield pool
    pool.close()


def test_a_call_that_hangs_is_killed_and_the_next_one_works(pool):
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(CallFailed, match="timed out after 1 s"):
        pool.call({})
    assert pool.call({"number": 2}) == {"twice": 4}
    assert len({child.pid for child in psutil.Process().children()} - before) == 1, (
        "one new worker in place of the killed one"
    )


def test_a_call_that_fails_says_why(pool):
    with pytest.raises(CallFailed, match="TypeError: unsupported operand"):
        pool.call({"number": None})


def test_a_worker_killed_from_outside_is_replaced(pool):
    (worker,) = [child for child in psutil.Process().children() if MODULE in title(child)]
    worker.kill()
    psutil.wait_procs([worker], timeout=5)
    with suppress(CallFailed):  # it may have to find out first
        pool.call({"number": 1})
    assert pool.call({"number": 2}) == {"twice": 4}


def test_many_threads_share_the_workers(pool):
    results = {}

    def check(number: int) -> None:
        results[number] = pool.call({"number": number})["twice"]

    threads = [threading.Thread(target=check, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {number: 2 * number for number in range(20)}


def test_no_worker_outlives_a_killed_parent():
    program = (
        f"import sys; sys.path.append({str(Path(__file__).parents[1])!r})\n"
        "import threading; from rlsys.workers.pool import Worker, WorkerPool\n"
        f"pool = WorkerPool(Worker({MODULE!r}, 3), 2)\n"
        "pool.call({'number': 1}); pool.call({'number': 1})\n"
        "threading.Thread(target=pool.call, args=({},)).start()\n"
        "print([worker._process.pid for worker in pool._workers], flush=True)\n"
        "__import__('os').kill(__import__('os').getpid(), 9)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    ).stdout
    workers = [psutil.Process(pid) for pid in eval(out) if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(workers, timeout=8)
    assert not alive
