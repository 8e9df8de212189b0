"""The order of an epoch, and which samples share a batch."""

import pytest

from lab.data.sample_order import EpochSampler, SizedBatches


@pytest.mark.parametrize("shuffle", [False, True])
def test_skipped_samples_are_the_first_of_the_next_pass_only(shuffle: bool) -> None:
    sampler = EpochSampler(7, shuffle=shuffle, seed=1)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.skip(3)
    assert list(sampler) == whole[3:] and len(sampler) == 7
    assert list(sampler) == whole
    sampler.skip(3)
    sampler.set_epoch(2)
    assert list(sampler) == whole


def test_batches_of_whole_images_are_bounded_by_their_pixels() -> None:
    batches = list(SizedBatches([(2048, 2048)] * 3 + [(1024, 1024)] * 5 + [(9000, 9000)], batch_size=16))
    assert [len(batch) for batch in batches] == [1, 1, 1, 4, 1, 1]
    assert [index for batch in batches for _, index in batch] == list(range(9))
