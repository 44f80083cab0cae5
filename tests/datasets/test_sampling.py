"""Batches do not depend on the number of processes, and an interrupted epoch can be continued."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.sampling import EpochBatches
from util.files import InputError

SIZES = {"size": st.integers(1, 60), "batch_size": st.integers(1, 6), "world_size": st.integers(1, 4)}
TRAINING = st.fixed_dictionaries(SIZES).filter(lambda sizes: sizes["size"] >= sizes["batch_size"] * sizes["world_size"])


def by_ranks(sizes, **options):
    return [list(EpochBatches(**sizes, **options, rank=rank)) for rank in range(sizes["world_size"])]


@given(TRAINING)
def test_processes_share_the_batches_of_one(sizes):
    together = {"size": sizes["size"], "batch_size": sizes["batch_size"] * sizes["world_size"], "world_size": 1}
    parts = by_ranks(sizes, seed=3, epoch=5)
    assert [sum(parts_of_batch, []) for parts_of_batch in zip(*parts, strict=True)] == by_ranks(together, seed=3,
                                                                                              epoch=5)[0]


@given(TRAINING)
def test_every_batch_is_full_and_no_sample_comes_twice(sizes):
    batches = sum(by_ranks(sizes, seed=0, epoch=1), [])
    step = sizes["batch_size"] * sizes["world_size"]
    assert all(len(batch) == sizes["batch_size"] for batch in batches)
    keys = sum(batches, [])
    assert len(set(keys)) == len(keys) == sizes["size"] // step * step
    assert all(epoch == 1 and 0 <= index < sizes["size"] for epoch, index in keys)


@given(st.fixed_dictionaries(SIZES))
def test_validation_sees_every_sample_once_and_in_order(sizes):
    parts = by_ranks(sizes, seed=0, epoch=0, shuffle=False, drop_last=False)
    assert sorted(sum(sum(parts, []), [])) == [(0, index) for index in range(sizes["size"])]
    assert all(part == sorted(part) and [] not in part for part in parts)
    if sizes["world_size"] == 1:
        assert sum(parts[0], []) == [(0, index) for index in range(sizes["size"])]


@given(TRAINING, st.integers(0, 10))
def test_an_interrupted_epoch_is_continued(sizes, start):
    whole = by_ranks(sizes, seed=1, epoch=2)
    assert by_ranks(sizes, seed=1, epoch=2, start_batch=start) == [part[start:] for part in whole]
    batches = EpochBatches(**sizes, seed=1, epoch=2, start_batch=start)
    assert len(batches) == len(list(batches))


def test_epochs_and_seeds_have_their_own_order():
    orders = {tuple(index for batch in EpochBatches(50, 10, seed, epoch) for _, index in batch)
              for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert list(EpochBatches(4, 2, 0, 1, shuffle=False)) == [[(1, 0), (1, 1)], [(1, 2), (1, 3)]]


def test_less_than_a_batch_is_refused():
    with pytest.raises(InputError, match="7 samples don't fill a batch of 8: .* smaller --batch_size"):
        EpochBatches(7, 4, 0, 0, world_size=2)
    with pytest.raises(InputError, match="0 samples"):
        EpochBatches(0, 4, 0, 0, shuffle=False, drop_last=False)
