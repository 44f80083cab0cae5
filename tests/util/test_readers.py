"""The processes that read photos."""
import signal
import time

import pytest

from tests.helpers import not_on_windows, start_python

READ = """
import os
import time

from util.command import run_command
from util.readers import read_in_processes


class Large:
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return os.getpid(), bytes(10_000_000)   # more than the pipe to the first process takes


def read():
    pids = set()
    for pid, _ in read_in_processes(Large(), 2):
        pids.add(pid)
        if len(pids) == 2:
            print(*pids, flush=True)
            time.sleep(100)


raise SystemExit(run_command(read, verbose=False))
"""


@not_on_windows
@pytest.mark.parametrize("name, status", [("SIGTERM", 128 + 15), ("SIGKILL", -9)])
def test_readers_end_with_their_parent_however_it_ends(name, status):
    run = start_python("-c", READ)
    assert len(run.stdout.readline().split()) == 2
    time.sleep(0.5)   # the readers now wait for the first process to take what they have read
    run.send_signal(getattr(signal, name))
    run.communicate(timeout=60)   # returns when the readers, too, have closed the output
    assert run.returncode == status
