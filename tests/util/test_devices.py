import pytest
import torch

from util.devices import choose_device, gpu_numbers
from util.distributed import run_on_gpus
from util.files import InputError


@pytest.mark.parametrize("gpu_ids, numbers", [(None, None), ("0", [0]), ("2,0", [2, 0]), ("0, 1,", [0, 1]),
                                              ("-1", [-1])])
def test_numbers_of_gpus(gpu_ids, numbers):
    assert gpu_numbers(gpu_ids) == numbers


@pytest.mark.parametrize("gpu_ids, message", [
    ("0,0", "twice"), ("1,0,1", "twice"), ("-1,-1", "twice"), ("-1,0", "CPU"), ("0,-1", "CPU"), ("", "by number"),
    ("first", "by number"), ("0.5", "by number")])
def test_what_cannot_work_is_refused_before_a_process_starts(gpu_ids, message):
    for refuse in (gpu_numbers, choose_device, lambda ids: run_on_gpus(lambda: pytest.fail("has run"), ids)):
        with pytest.raises(InputError, match=f"--gpu_ids={gpu_ids}: .*{message}"):
            refuse(gpu_ids)


def test_minus_one_is_the_cpu():
    assert choose_device("-1") == torch.device("cpu")
