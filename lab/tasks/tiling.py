"""Images of any size through a network: in tiles that overlap, whose logits are blended.

A tile's edge inside the image cuts off what the network would have seen beyond it. A tile therefore has no
say (weight exactly 0) on its outermost (overlap − 1) // 2 pixels there, and further in its weight rises as a
Gaussian does. Neighbours share `overlap` pixels, and half as many again for the blending. So a network
whose receptive field is smaller than `overlap` answers as it would for the whole image, and one that sees
farther shows no seams. The image's own edge is no cut: it is the same for the tile and for the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Network = Callable[..., Tensor]
Reader = Callable[[int, int, int, int], Tensor]
"""(top, bottom, left, right) to that piece of the image, (N, C, bottom - top, right - left)."""
_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


@dataclass(frozen=True)
class Tiles:
    """The way in which images are taken apart.

    Args:
        tile: pixels of a side; rounded up to a multiple of `divisor`.
        overlap: pixels that neighbours share at least; at most `tile - divisor`.
        divisor: the image is padded below and on the right to a multiple of it, by reflection, or where it is
            too small for that, by its last row and column.
        flips: the mean of the logits of the image and its three mirror images.
    """

    tile: int
    overlap: int
    divisor: int = 32
    flips: bool = False

    def require_fit(self) -> None:
        """Raise ValueError where the sizes don't go together for an image larger than a tile."""
        if self.tile < 1 or self.divisor < 1:
            raise ValueError(f"tile and divisor must be at least 1, found {self.tile} and {self.divisor}")
        positions(2 * self.side, self.side, self.overlap, self.divisor)

    @property
    def side(self) -> int:
        """Pixels of a tile's side."""
        return self.tile + -self.tile % self.divisor


def positions(length: int, tile: int, overlap: int, step: int = 1) -> list[int]:
    """Return the first pixel of each tile along an axis: from 0, ascending; the last tile ends with it.

    Neighbours share `overlap` pixels at least, and 1.5 times as many where `step` leaves room for it.

    Args:
        length: pixels of the axis; one no longer than `tile` is one tile, cut short.
        step: starts are multiples of it, so that a network that strides lies over the image as it would over
            the whole; `length` and `tile` then have to be multiples too.

    Raises:
        ValueError: a size is out of its range, or the tiles would not move on.
    """
    if length < 1 or tile < 1 or overlap < 0 or step < 1:
        raise ValueError(
            "length, tile and step must be at least 1, and overlap at least 0, found "
            f"{length}, {tile}, {step} and {overlap}"
        )
    if length <= tile:
        return [0]
    if length % step or tile % step:
        raise ValueError(f"length {length} and tile {tile} must be multiples of the step {step}")
    # Half of the overlap on top leaves room to blend beside the pixels of weight 0.
    stride = max((tile - overlap - overlap // 2) // step * step, step)
    if stride + overlap > tile:
        raise ValueError(
            f"an overlap of {overlap} is too large for a tile of {tile}: at most {tile - step}, "
            "and half of the tile is usually enough"
        )
    return [*range(0, length - tile, stride), length - tile]


def weights(length: int, tile: int, overlap: int, step: int = 1) -> Tensor:
    """Return the weights of the tiles along one axis: (tiles, min(tile, length)), float32.

    At each pixel the weights of the tiles that cover it sum to 1. So do their products over two axes, and no
    map of the whole image is needed.

    Raises:
        ValueError: as `positions`.
    """
    starts = positions(length, tile, overlap, step)
    size, margin = min(tile, length), max(overlap - 1, 0) // 2
    if len(starts) == 1:
        return torch.ones(1, size)
    at = torch.arange(size, dtype=torch.float64)
    distance = (at - (size - 1) / 2).abs()
    # Where the weight has come down to 0: one pixel beyond the last that counts.
    reach = (size + 1) / 2 - margin
    # A Gaussian lowered so that it is 0 at `reach`; the floor keeps the sum below positive.
    hill = _gaussian(distance, reach / 4) - _gaussian(torch.tensor(reach, dtype=torch.float64), reach / 4)
    rows = hill.clamp(min=1e-6).repeat(len(starts), 1)
    rows[1:, :margin] = 0
    rows[:-1, size - margin :] = 0
    # Normalise, so that the weights of the tiles over each pixel sum to 1.
    total = torch.zeros(length, dtype=torch.float64)
    for start, row in zip(starts, rows, strict=True):
        total[start : start + size] += row
    shares = [row / total[start : start + size] for start, row in zip(starts, rows, strict=True)]
    return torch.stack(shares).float()


def infer(network: Network, inputs: Sequence[Tensor], tiles: Tiles) -> Tensor:
    """Logits (N, K, H, W) of images of any size; what fits into one tile is not cut at all.

    Args:
        network: called with a tile (N, C, h, w), h and w multiples of the divisor, and the other inputs as
            they are; returns (N, K, h, w).
        inputs: the images (N, C, H, W), then whatever else the network takes.

    Raises:
        ValueError: tile and overlap don't go together, or the network's output has another size.
    """
    image, *others = inputs
    height, width = image.shape[-2:]

    def read(top: int, bottom: int, left: int, right: int) -> Tensor:
        return image[..., top:bottom, left:right]

    whole = [rows for _, rows in bands(network, read, (height, width), tiles, others)]
    return whole[0] if len(whole) == 1 else torch.cat(whole, dim=-2)


def bands(
    network: Network, read: Reader, size: tuple[int, int], tiles: Tiles, others: Sequence[Tensor] = ()
) -> Iterator[tuple[int, Tensor]]:
    """Yield logits of an image that is never in memory as a whole: `(top, logits (N, K, rows, W))` downwards.

    Args:
        read: gives pieces of the image, where the network is; neighbouring pieces overlap.
        size: the image's height and width.

    Yields:
        Bands that follow one another from the first row to the last, each as soon as nothing will be added.

    Raises:
        ValueError: as `infer`.
    """
    tile, overlap, divisor = tiles.side, tiles.overlap, tiles.divisor
    height, width = (length + -length % divisor for length in size)
    tops, lefts = (positions(length, tile, overlap, divisor) for length in (height, width))
    down, across = (weights(length, tile, overlap, divisor) for length in (height, width))
    rows, columns = _sources(size[0], height), _sources(size[1], width)
    pending: Tensor | None = None  # logits from `top` on that later tiles still add to
    for top, row_weights, end in zip(tops, down, [*tops[1:], height], strict=True):
        total: Tensor | None = None
        for left, column_weights in zip(lefts, across, strict=True):
            piece = _padded(read, rows[top : top + tile], columns[left : left + tile])
            logits = _answer(network, piece, others, tiles.flips)
            # A single tile is returned as it is, in the network's own precision.
            if len(lefts) == 1 and len(tops) == 1:
                yield 0, logits[..., : size[0], : size[1]]
                return
            if total is None:
                total = logits.new_zeros((*logits.shape[:3], width), dtype=torch.float32)
            share = (row_weights[:, None] * column_weights).to(logits.device)
            total[..., left : left + tile] += logits.float() * share
        assert total is not None
        # The upper rows overlap the band before; those that no later tile reaches are finished.
        if pending is not None:
            total[..., : pending.shape[-2], :] += pending
        finished = min(end, size[0]) - top
        if finished > 0:
            yield top, total[..., :finished, : size[1]]
        pending = total[..., end - top :, :]


def _gaussian(distance: Tensor, sigma: float) -> Tensor:
    return torch.exp(-0.5 * (distance / sigma) ** 2)


def _sources(length: int, padded: int) -> Tensor:
    """Map each pixel of the padded axis to a pixel of the axis."""
    at = torch.arange(padded)
    mirrored = 2 * (length - 1) - at if padded - length < length else torch.full((padded,), length - 1)
    return torch.where(at < length, at, mirrored)


def _padded(read: Reader, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels that are asked for, in the layout in which they were read."""
    top, left = int(rows.min()), int(columns.min())
    piece = read(top, int(rows.max()) + 1, left, int(columns.max()) + 1)
    layout = _layout(piece)
    # Beyond the image's edge the wanted rows and columns are mirrored ones of the piece.
    for axis, wanted in ((-2, rows - top), (-1, columns - left)):
        if len(wanted) != piece.shape[axis] or int(wanted[-1]) != len(wanted) - 1:
            piece = piece.index_select(axis, wanted.to(piece.device))
    return piece.contiguous(memory_format=layout)


def _layout(image: Tensor) -> torch.memory_format:
    """Return the layout by the strides, which a piece cut out of an image still has."""
    beside = image.stride(1) == 1 and image.shape[1] > 1
    return torch.channels_last if beside else torch.contiguous_format


def _answer(network: Network, image: Tensor, others: Sequence[Tensor], flips: bool) -> Tensor:
    """The network's logits, or the mean over mirror images, each turned back."""
    layout = _layout(image)
    total: Tensor | None = None
    for axes in _FLIPS if flips else _FLIPS[:1]:
        seen = (image.flip(axes) if axes else image).contiguous(memory_format=layout)
        logits = network(seen, *others)
        if logits.dim() != 4 or logits.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"the network returned {tuple(logits.shape)} for {tuple(image.shape)}: expected logits "
                f"(N, classes, {image.shape[-2]}, {image.shape[-1]})"
            )
        logits = logits.flip(axes) if axes else logits
        total = logits if total is None else total + logits
    assert total is not None
    return total / len(_FLIPS) if flips else total
