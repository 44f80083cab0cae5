"""The script for the day when a GPU is there works: its dry run on the CPU does all steps."""
import sys

import pytest
import torch

from tests.benchmarks import gpu_day


@pytest.fixture
def threads():
    """Restores the number of PyTorch's threads."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def test_the_dry_run_writes_a_table_and_does_nothing_twice(tmp_path, monkeypatch, capsys, threads):
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", str(tmp_path), "--dry_run", "--minutes=60"])
    gpu_day.main()
    report = (tmp_path / "report.md").read_text()
    steps = ["tests", "rasteriser", "test.py, network", "test.py, fit", "step of 2", "data preparation",
             "training, batch 2, 1 GPU"]
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("| ")][2:]
    assert list(dict.fromkeys(row[0] for row in rows)) == steps, report
    assert "failed" not in report and "stopped" not in report, report
    (tmp_path / "logs" / "rasteriser.txt").unlink()   # as if it had failed
    capsys.readouterr()
    gpu_day.main()
    started = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(("|", "/"))]
    assert started == ["rasteriser"]
