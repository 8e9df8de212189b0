"""Tiles: where they lie, what they weigh, and that their blend is what the whole image would have given."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lab.tasks.tiling import Tiles, bands, infer, positions, weights


class Convolutions(nn.Module):
    """A network whose receptive field is 1 + 2·depth pixels; it counts its calls and notes what it saw."""

    def __init__(self, depth: int = 3, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 8, 1)]
        for _ in range(depth):
            layers += [nn.Conv2d(8, 8, 3, padding=1), nn.Tanh()]
        self.body = nn.Sequential(*layers, nn.Conv2d(8, classes, 1))
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image)
        out: Tensor = self.body(image)
        return out


class Pooling(nn.Module):
    """Down by 4 and up again, so that it matters where a tile begins; sees at most 22 pixels across."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.before = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.after = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        low = torch.tanh(self.middle(nn.functional.max_pool2d(self.before(image), 4)))
        out: Tensor = self.after(nn.functional.interpolate(low, scale_factor=4, mode="nearest"))
        return out


def whole(network: Callable[[Tensor], Tensor], image: Tensor, divisor: int = 1) -> Tensor:
    """The answer in one piece, padded as `infer` pads, by torch's own reflection."""
    height, width = image.shape[-2:]
    pad = (0, -width % divisor, 0, -height % divisor)
    return network(nn.functional.pad(image, pad, mode="reflect"))[..., :height, :width]


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "step", "expected"),
    [
        (10, 10, 4, 1, [0]),
        (3, 10, 4, 1, [0]),
        (11, 10, 4, 1, [0, 1]),
        (20, 10, 0, 1, [0, 10]),
        (24, 10, 4, 1, [0, 4, 8, 12, 14]),  # 10 - 4 - 2 = 4
        (24, 10, 5, 1, [0, 3, 6, 9, 12, 14]),  # 10 - 5 - 2 = 3
        (96, 64, 16, 32, [0, 32]),  # 40, down to a multiple of 32
        (96, 64, 32, 32, [0, 32]),  # 16 would be none: the blending has to do with less
        (512, 256, 64, 32, [0, 160, 256]),
    ],
)
def test_positions(length: int, tile: int, overlap: int, step: int, expected: list[int]) -> None:
    assert positions(length, tile, overlap, step) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, 2), "at least 1"),
        ((8, 0, 2), "at least 1"),
        ((8, 8, -1), "at least 0"),
        ((100, 64, 16, 32), "multiples of the step"),
        ((20, 8, 8), "an overlap of 8 is too large for a tile of 8: at most 7"),
        ((128, 64, 33, 32), "at most 32"),
    ],
)
def test_what_cannot_be_tiled_is_said(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        positions(*arguments)


sizes = st.integers(1, 200)


@example(length=13, tile=70, share=0.21875, step=1)  # an image narrower than what a tile leaves out
@given(length=sizes, tile=st.integers(2, 70), share=st.floats(0, 1), step=st.sampled_from([1, 2, 8]))
def test_weights_sum_to_one_and_say_nothing_at_a_cut(length: int, tile: int, share: float, step: int) -> None:
    tile += -tile % step
    length += -length % step if length > tile else 0
    overlap = int(share * (tile - step))
    starts, rows = positions(length, tile, overlap, step), weights(length, tile, overlap, step)
    size, margin = min(tile, length), (max(overlap, 1) - 1) // 2
    assert rows.shape == (len(starts), size) and starts[0] == 0 and starts[-1] == length - size
    assert all(0 < b - a <= tile - overlap and b % step == 0 for a, b in pairwise(starts))
    total = torch.zeros(length)
    for start, row in zip(starts, rows, strict=True):
        total[start : start + size] += row
    assert torch.allclose(total, torch.ones(length), atol=1e-6)
    assert (rows >= 0).all()
    assert (rows[1:, :margin] == 0).all() and (rows[:-1, size - margin :] == 0).all()


def test_weights_rise_as_a_gaussian_does() -> None:
    first, second = weights(160, 100, 26)[:2]
    assert positions(160, 100, 26) == [0, 60]
    shared = second[:40]  # of which 12 on either side belong to the neighbour alone
    assert (shared[:12] == 0).all() and (shared[-12:] == 1).all() and (first[60:72] == 1).all()
    assert (shared[12:28].diff() > 0).all() and shared[12] < 0.03
    assert torch.allclose(shared + first[60:], torch.ones(40), atol=1e-6)


@given(
    height=sizes,
    width=sizes,
    tile=st.integers(9, 64),
    overlap=st.integers(8, 40),
    divisor=st.sampled_from([1, 2, 5]),
)
@settings(max_examples=10, deadline=None)
def test_tiled_is_whole_where_the_receptive_field_is_smaller_than_the_overlap(
    height: int, width: int, tile: int, overlap: int, divisor: int
) -> None:
    network, image = Convolutions(depth=3), torch.rand(1, 3, height, width)  # it sees 7 pixels across
    tile += -tile % divisor
    assume(overlap <= tile - divisor and min(height, width) > divisor)
    with torch.no_grad():
        tiled = infer(network, (image,), Tiles(tile=tile, overlap=overlap, divisor=divisor))
        assert torch.allclose(tiled, whole(network, image, divisor), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(65, 97), (64, 96), (200, 31), (33, 129)])
def test_tiles_of_a_network_that_strides_lie_where_the_whole_does(height: int, width: int) -> None:
    network, image = Pooling(), torch.rand(2, 3, height, width)
    with torch.no_grad():
        tiled = infer(network, (image,), Tiles(tile=48, overlap=24, divisor=4))
        assert torch.allclose(tiled, whole(network, image, 4), atol=1e-5)


def test_a_receptive_field_beyond_the_overlap_is_seen_to_differ() -> None:
    network, image = Convolutions(depth=12), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        tiled = infer(network, (image,), Tiles(tile=32, overlap=8, divisor=1))
        assert not torch.allclose(tiled, network(image), atol=1e-5)


def test_what_fits_into_one_tile_is_the_network_itself() -> None:
    network, image = Convolutions(), torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(infer(network, (image,), Tiles(tile=64, overlap=16)), network(image))
    assert len(network.seen) == 2 and network.seen[0].data_ptr() == image.data_ptr()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (16, 17), (31, 33), (20, 90)])
def test_padding_is_reflection_where_there_is_enough_and_repetition_elsewhere(size: tuple[int, int]) -> None:
    image, seen = torch.rand(1, 3, *size), list[Tensor]()

    def network(tile: Tensor) -> Tensor:
        seen.append(tile)
        return tile[:, :1]

    assert torch.equal(infer(network, (image,), Tiles(tile=96, overlap=0)), image[:, :1])
    expected = image
    for axis, length in enumerate(size):
        pad = [0, 0, 0, 0]
        pad[1 if axis else 3] = -length % 32
        mode = "reflect" if -length % 32 < length else "replicate"
        expected = nn.functional.pad(expected, pad, mode=mode)
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (32, 16)])
def test_flips_are_averaged_as_logits(tile: int, overlap: int) -> None:
    network, image = Convolutions(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        flipped = infer(network, (image,), Tiles(tile=tile, overlap=overlap, divisor=8, flips=True))
        expected = torch.stack([network(image.flip(axes)).flip(axes) for axes in ([], [2], [3], [2, 3])])
        assert torch.allclose(flipped, expected.mean(0), atol=1e-5)
        assert not torch.allclose(flipped, network(image), atol=1e-3)


def test_other_inputs_reach_every_tile_unchanged() -> None:
    ids, calls = torch.tensor([4, -1]), list[Tensor]()

    def network(image: Tensor, sequence: Tensor) -> Tensor:
        calls.append(sequence)
        return image[:, :1] + sequence[:, None, None, None]

    image = torch.rand(2, 3, 50, 70)
    out = infer(network, (image, ids), Tiles(tile=32, overlap=8, flips=True, divisor=8))
    assert torch.allclose(out, image[:, :1] + torch.tensor([4.0, -1.0])[:, None, None, None], atol=1e-5)
    assert len(calls) > 4 and all(call is ids for call in calls)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (30, 31)])
@pytest.mark.parametrize("flips", [False, True])
def test_the_memory_layout_stays(size: tuple[int, int], flips: bool) -> None:
    network = Convolutions()
    for layout in (torch.channels_last, torch.contiguous_format):
        network.seen.clear()
        image = torch.rand(2, 3, *size).contiguous(memory_format=layout)
        with torch.no_grad():
            infer(network, (image,), Tiles(tile=32, overlap=8, divisor=8, flips=flips))
        assert all(tile.is_contiguous(memory_format=layout) for tile in network.seen)


def test_bands_are_the_whole_read_piece_by_piece() -> None:
    network, image = Pooling(), torch.rand(1, 3, 333, 70)
    reads: list[tuple[int, int]] = []

    def read(top: int, bottom: int, left: int, right: int) -> Tensor:
        reads.append((top, bottom))
        assert bottom - top <= 64 and 0 <= left < right <= 70 and right - left <= 64
        return image[:, :, top:bottom, left:right]

    with torch.no_grad():
        found = list(bands(network, read, (333, 70), Tiles(tile=64, overlap=24, divisor=4)))
        tops = [top for top, _ in found]
        assert tops == [0, *torch.tensor([band.shape[-2] for _, band in found]).cumsum(0).tolist()[:-1]]
        assert torch.allclose(torch.cat([b for _, b in found], -2), whole(network, image, 4), atol=1e-5)
    assert reads == sorted(reads) and max(bottom for _, bottom in reads) == 333


def test_a_network_that_answers_in_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 16\) for \(1, 3, 32, 32\): expected logits"):
        infer(nn.AvgPool2d(2), (torch.rand(1, 3, 32, 32),), Tiles(tile=32, overlap=0))
