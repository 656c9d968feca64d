"""Worker processes end when their parent is gone."""

from __future__ import annotations

import sys
from subprocess import PIPE, Popen

import psutil

PARENT = """
import os
from concurrent.futures import ProcessPoolExecutor
from dhl.signals import end_with_parent

with ProcessPoolExecutor(3, initializer=end_with_parent) as pool:
    print(*{pool.submit(os.getpid).result() for _ in range(3)}, *pool._processes, flush=True)
    input()  # until it is killed
"""


def test_workers_of_a_killed_parent_end():
    command = [sys.executable, "-c", PARENT]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as parent:
        workers = [
            psutil.Process(pid) for pid in {int(pid) for pid in parent.stdout.readline().split()}
        ]
        assert workers
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert not alive
