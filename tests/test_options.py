import subprocess
import sys

from conftest import ROOT

from models import recognition, regressor
from options import common


def test_the_options_name_every_network():
    assert set(common.BACKBONES) == set(regressor.BACKBONES)
    assert set(common.RECOGNITION_NETWORKS) == set(recognition.NETWORKS)


def test_wrong_options_are_told_without_loading_pytorch():
    """It takes seconds, and reads the environment that the scripts set after their options."""
    modules = "options.testing, options.training, options.preparation"
    subprocess.run([sys.executable, "-c", f"import sys, {modules}; assert 'torch' not in sys.modules"], cwd=ROOT,
                   check=True)
