"""MATLAB files that are written in threads."""
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from util.mat_files import read_mat, write_mat


def test_threads_do_not_break_the_files_of_each_other(tmp_path):
    variables = {f"v{length}": np.arange(length, dtype=np.float32)[None] for length in range(1, 200)}
    paths = [tmp_path / f"{number}.mat" for number in range(40)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)   # threads take turns as often as they can
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda path: write_mat(path, variables), paths))
    finally:
        sys.setswitchinterval(interval)
    for path in paths:
        np.testing.assert_equal(read_mat(path, {name: array.shape for name, array in variables.items()}), variables)
