from pathlib import Path

import pytest

from tests.helpers import arguments, start_python


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory) -> Path:
    """The experiment's folder after an undisturbed training of two epochs of three steps. Do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    run = start_python("train.py", *arguments(photos, folder, "--name=m", "--n_epochs=2", "--print_freq=1",
                                              "--display_freq=2", "--save_latest_freq=1"))
    output, _ = run.communicate()
    assert run.returncode == 0, output
    return folder / "m"
