import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from lab.data.image_mask_pairs import ImagePairs
from lab.data.pair_cache import Pair, Store, Subset


def pairs(count: int = 6) -> Iterator[Pair]:
    rng = np.random.default_rng(0)
    for index in range(count):
        shape = (3 + index, 5)
        image = (
            rng.integers(0, 256, (*shape, 3), np.uint8) if index % 2 else rng.random((*shape, 1), np.float32)
        )
        yield image, rng.integers(0, 2, shape, np.uint8)


def same(store: Store) -> bool:
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for index, pair in enumerate(pairs(len(store)))
        for a, b in zip(store[index], pair, strict=True)
    )


@pytest.mark.parametrize("budget", [0, 150, 400, 1e9])
def test_pairs_come_back_as_they_were(budget: float) -> None:
    store = Store(pairs(), budget)
    assert len(store) == 6 and same(store)
    total = sum(image.nbytes + mask.nbytes for image, mask in pairs())
    assert store.held_bytes <= budget and (store.mapped_bytes == 0) == (budget >= total)
    assert store.held_bytes + store.mapped_bytes >= total


def test_every_pair_is_read_once() -> None:
    seen = []

    def watched() -> Iterator[Pair]:
        for index, pair in enumerate(pairs()):
            seen.append(index)
            yield pair

    store = Store(watched(), 100)
    assert same(store) and same(store) and seen == list(range(6))


def test_no_file_is_left_or_even_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store(pairs(), 0)
    assert store.mapped_bytes > 0 and list(tmp_path.iterdir()) == []
    assert same(store)


def test_open_files_do_not_grow_with_the_pairs() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = Store(pairs(200), 0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2 and same(store)


def test_mapped_pairs_cannot_be_changed() -> None:
    image, _ = Store(pairs(), 0)[0]
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 1


def test_forked_workers_read_it_and_end_without_harm() -> None:
    store = Store(pairs(), 0)
    plain = ImagePairs(store)
    for _ in range(2):
        items = list(DataLoader(plain, batch_size=None, num_workers=2))
        assert all(np.array_equal(mask[0], store[k][1]) for k, (_, mask) in enumerate(items))
    assert same(store)


def test_it_can_be_sent_to_another_process() -> None:
    assert same(pickle.loads(pickle.dumps(Store(pairs(), 100))))


def test_subset() -> None:
    store = Store(pairs(), 1e9)
    subset = Subset(store, np.array([4, 1]))
    assert len(subset) == 2 and np.array_equal(subset[0][1], store[4][1])
