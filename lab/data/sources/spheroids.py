"""Drawn microscopy: spheroids in wells, with everything that makes the real ones hard to segment.

Brightfield as a camera sees it: light that falls off unevenly, the well's rim and the darker plate outside of
it, one to four spheroids that may touch, and things that look like them and are not (debris, fibres,
bubbles), all of it blurred by the focus and covered by the sensor's noise. Lengths below are fractions of the
image's side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lab.config.dataset_info import DatasetInfo
from lab.config.mask_values import BINARY
from lab.data.image_mask_pairs import AugmentedPairs, ImagePairs, Transforms, in_memory
from lab.data.splits import Splits, require_counts, require_range

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """Parameters of the drawn images; see `spheroids` for the meaning of the fields."""

    size: int
    noise: float
    blur: float
    debris: float
    touching: float

    def __post_init__(self) -> None:
        require_range(32, size=self.size)
        require_range(0, noise=self.noise, blur=self.blur, debris=self.debris)
        require_range(0, 1, touching=self.touching)


def spheroids(
    train_count: int = 320,
    val_count: int = 80,
    test_count: int = 0,
    size: int = 128,
    seed: int = 0,
    channels: Literal[1, 3] = 1,
    noise: float = 0.03,
    blur: float = 1.0,
    debris: float = 12.0,
    touching: float = 0.6,
    transforms: Transforms = (),
    val_transforms: Transforms = (),
) -> Splits:
    """Draw images of spheroids in wells with their masks, a few milliseconds each, and keep them in memory.

    An item is (image, mask): float32 (channels, size, size) in [0, 1], float32 (1, size, size) in {0, 1}.
    Image i of a set depends on (seed, set, i) alone, so that a larger set begins with the smaller one.

    Args:
        size: side of the images in pixels, at least 32.
        seed: decides the images; independent of the run's seed, so that seeds share their sets.
        channels: 3 repeats the grey image, for encoders that were trained on colour.
        noise: standard deviation of the sensor's noise at full light, as a fraction of full scale, ≥ 0.
        blur: largest standard deviation of the focus blur, in pixels, ≥ 0.
        debris: mean number of particles in an image, ≥ 0; fibres and bubbles come with them.
        touching: probability that a further spheroid touches another one, in [0, 1].
        transforms: albumentations for the train set, applied to image and mask alike.
        val_transforms: the same for the validation and test sets, drawn with a fixed generator.
    Raises:
        ValueError: an argument is out of its range.
    """
    require_counts(train_count, val_count, test_count)
    scene = Scene(size, noise, blur, debris, touching)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, found {channels}")

    counts = {"train": train_count, "val": val_count, "test": test_count}
    names = {part: [f"{part}-{index}" for index in range(count)] for part, count in counts.items()}

    def pairs(part: str, transforms: Transforms, kind: type[ImagePairs] = ImagePairs) -> ImagePairs:
        split = list(counts).index(part)
        drawn = (draw(scene, np.random.default_rng((seed, split, index))) for index in range(counts[part]))
        coloured = [(np.repeat(image[..., None], channels, axis=2), mask) for image, mask in drawn]
        return kind(coloured, transforms, names=names[part])

    info = DatasetInfo(in_channels=channels, classes=BINARY, normalise="none", counts=counts, split=names)
    return Splits(
        pairs("train", transforms, AugmentedPairs) if transforms else in_memory(pairs("train", ())),
        in_memory(pairs("val", val_transforms)),
        in_memory(pairs("test", val_transforms)) if test_count else None,
        info.to_facts(),
    )


def draw(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image: image (size, size) uint8, mask (size, size) uint8 in {0, 1}."""
    axis = _axis(scene.size)
    y, x = axis[:, None], axis[None, :]
    well_x, well_y = rng.uniform(-0.06, 0.06, 2)
    well = _Circle(well_x, well_y, rng.uniform(0.42, 0.6))
    bodies = _place(rng, well, scene.touching)

    # From back to front: lamp and well, spheroids, debris, and the camera last.
    light = _light(rng, x, y) * _rim(rng, x, y, well)
    mask = np.zeros((scene.size, scene.size), np.uint8)
    for body in bodies:
        _add_spheroid(rng, light, mask, axis, body)
    if scene.debris:
        _add_debris(rng, light, bodies, scene)
    return _camera(rng, light, scene), mask


def draw_plate(
    scene: Scene, wells: int, empty: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A square of wells × wells under one lamp and one camera: image (side, side), mask likewise, as `draw`.

    `scene.size` is one well's side, and each has its own spheroids and debris, or with probability `empty`
    debris alone.
    """
    side, size = wells * scene.size, scene.size
    whole, axis = _axis(side), _axis(size)
    light = _light(rng, whole[None, :], whole[:, None])
    mask = np.zeros((side, side), np.uint8)
    rim = int(rng.integers(2**32))  # the wells are cast in one piece: their walls look the same
    for row, column in np.ndindex(wells, wells):
        place = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
        part, part_mask = light[place], mask[place]
        centre_x, centre_y = rng.uniform(-0.01, 0.01, 2)
        well = _Circle(centre_x, centre_y, rng.uniform(0.41, 0.43))
        part *= _rim(np.random.default_rng(rim), axis[None, :], axis[:, None], well)
        bodies = [] if rng.random() < empty else _place(rng, well, scene.touching)
        for body in bodies:
            _add_spheroid(rng, part, part_mask, axis, body)
        if scene.debris:
            _add_debris(rng, part, bodies, scene)
    return _camera(rng, light, scene), mask


def _camera(rng: np.random.Generator, light: Plane, scene: Scene) -> NDArray[np.uint8]:
    """Focus, noise, bytes."""
    import cv2  # with albumentations it takes a second, and other data needs neither

    sigma = scene.blur * rng.uniform(0.2, 1.0)
    if sigma > 0.1:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), np.float32)
    # Shot noise grows with the root of the light; the rest is the camera's own.
    grain = rng.standard_normal(light.shape, np.float32) * scene.noise
    light += grain * np.sqrt(0.15 + 0.85 * np.clip(light, 0, 1))
    return np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Circle:
    """A circle: x and y from the image's centre, and the radius."""

    x: float
    y: float
    r: float


def _axis(size: int) -> Plane:
    """The pixels' centres along one side, from -0.5 to 0.5."""
    return ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)


def _light(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """The lamp: a level, a slope, and a fall-off around a centre that is not the image's."""
    level = rng.uniform(0.5, 0.82)
    slope_x, slope_y = rng.normal(0, 0.16, 2)
    centre_x, centre_y = rng.uniform(-0.25, 0.25, 2)
    fall = rng.uniform(0, 0.7)
    plane = 1 + slope_x * x + slope_y * y - fall * ((x - centre_x) ** 2 + (y - centre_y) ** 2)
    return np.asarray(level * plane, np.float32)


def _rim(rng: np.random.Generator, x: Plane, y: Plane, well: _Circle) -> Plane:
    """The well's wall as a factor: a dark ring with a bright line inside, and the plate outside."""
    outward = np.hypot(x - well.x, y - well.y) - well.r
    width = rng.uniform(0.012, 0.035)
    dark, bright, outside = rng.uniform(0.25, 0.7), rng.uniform(0, 0.25), rng.uniform(0.1, 0.55)
    shade = rng.uniform(0, 0.25)  # the meniscus darkens the well towards its wall
    factor = 1 - outside / (1 + np.exp(-np.clip(outward / (0.3 * width), -30, 30)))
    factor -= dark * np.exp(-((outward / width) ** 2))
    factor += bright * np.exp(-(((outward + 2.2 * width) / (0.7 * width)) ** 2))
    factor -= shade * np.exp(np.minimum(outward, 0) / 0.06) * (outward < 0)
    return np.asarray(np.maximum(factor, 0.05), np.float32)


def _place(rng: np.random.Generator, well: _Circle, touching: float) -> list[_Circle]:
    """One to four spheroids inside the well, a further one beside another where it is to touch."""
    count = 1 + int(rng.choice(4, p=(0.45, 0.3, 0.15, 0.1)))
    bodies: list[_Circle] = []
    for _ in range(12 * count):
        r = rng.uniform(0.1, 0.25) / (0.7 + 0.3 * count)
        angle = rng.uniform(0, 2 * np.pi)
        if bodies and rng.random() < touching:
            other = bodies[int(rng.integers(len(bodies)))]
            distance = (r + other.r) * rng.uniform(0.82, 0.98)
            body = _Circle(other.x + distance * np.cos(angle), other.y + distance * np.sin(angle), r)
            clash = any(_gap(body, b) < -0.2 * min(r, b.r) for b in bodies if b is not other)
        else:
            distance = well.r * np.sqrt(rng.uniform(0, 0.6))
            body = _Circle(well.x + distance * np.cos(angle), well.y + distance * np.sin(angle), r)
            clash = any(_gap(body, b) < 0.02 for b in bodies)
        inside = np.hypot(body.x - well.x, body.y - well.y) + 1.25 * r < well.r
        if inside and not clash and max(abs(body.x), abs(body.y)) < 0.46:
            bodies.append(body)
        if len(bodies) == count:
            break
    return bodies or [_Circle(well.x, well.y, 0.15)]


def _gap(a: _Circle, b: _Circle) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y) - a.r - b.r)


def _add_spheroid(
    rng: np.random.Generator, light: Plane, mask: NDArray[np.uint8], axis: Plane, body: _Circle
) -> None:
    """Darken `light` by one spheroid and set its pixels in `mask`, both in place."""
    # Its outline is a circle with waves, and its fringe reaches a little further: only that window is
    # touched.
    reach = 1.5 * body.r
    rows = slice(*np.searchsorted(axis, (body.y - reach, body.y + reach)))
    columns = slice(*np.searchsorted(axis, (body.x - reach, body.x + reach)))
    dy, dx = axis[rows, None] - np.float32(body.y), axis[None, columns] - np.float32(body.x)
    waves = np.arange(2, 10)
    angle = np.linspace(-np.pi, np.pi, 181, dtype=np.float32)
    size = rng.normal(0, 0.11, len(waves)) / waves
    outline = 1 + (size[:, None] * np.cos(waves[:, None] * angle + rng.uniform(0, 2 * np.pi, (8, 1)))).sum(0)
    radius = body.r * np.clip(outline, 0.75, 1.25)
    d = np.hypot(dx, dy) / np.interp(np.arctan2(dy, dx), angle, radius)  # 0 in the middle, 1 at the outline
    inside = d < 1

    depth = rng.uniform(0.18, 0.62)
    body_share, edge_share = rng.uniform(0.45, 1.0), rng.uniform(0.1, 0.5)
    thickness = np.sqrt(np.clip(1 - d**2, 0, 1)) ** rng.uniform(0.4, 1.0)
    edge = np.exp(-(((d - 0.93) / 0.09) ** 2)) * inside
    core = rng.uniform(-0.15, 0.35) * np.exp(-((d / rng.uniform(0.3, 0.6)) ** 2))  # a dead core is darker
    grain = _texture(rng, d.shape, rng.uniform(0.007, 0.015) * len(axis)) * rng.uniform(0.04, 0.13)
    absorbed = depth * (body_share * thickness + edge_share * edge + core * inside) + grain * inside
    fringe = rng.uniform(0, 0.14) * np.exp(-(((d - 1.08) / 0.06) ** 2)) * ~inside
    light[rows, columns] *= np.clip(1 - absorbed + fringe, 0.08, 1.3).astype(np.float32)
    mask[rows, columns] |= inside.astype(np.uint8)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Plane:
    """Smooth noise of mean 0 and deviation about 1: the cells a spheroid is made of."""
    import cv2

    fine = np.asarray(cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), max(sigma, 0.5)))
    return np.asarray(fine / (fine.std() + 1e-6), np.float32)


def _add_debris(rng: np.random.Generator, light: Plane, bodies: list[_Circle], scene: Scene) -> None:
    """Particles, half of them shed around the spheroids; now and then a fibre or a bubble. In place."""
    import cv2

    size = scene.size
    specks = np.zeros((size, size), np.uint8)
    sub = 16  # cv2 draws at fractions of a pixel: coordinates are integers in sixteenths

    def at(x: ArrayLike, y: ArrayLike) -> NDArray[np.int32]:
        return np.rint((np.stack([x, y], -1) + 0.5) * size * sub).astype(np.int32)

    for _ in range(int(rng.poisson(scene.debris))):
        x, y = rng.uniform(-0.5, 0.5, 2)
        if rng.random() < 0.5 and bodies:
            near = bodies[int(rng.integers(len(bodies)))]
            angle, distance = rng.uniform(0, 2 * np.pi), near.r * (1.1 + rng.exponential(0.5))
            x, y = near.x + distance * np.cos(angle), near.y + distance * np.sin(angle)
        axes = np.rint(rng.uniform(0.004, 0.004 + 0.016 * rng.random() ** 2, 2) * size * sub).astype(int)
        turn, shade = rng.uniform(0, 180), int(rng.integers(90, 256))
        cv2.ellipse(specks, at(x, y).tolist(), axes.tolist(), turn, 0, 360, shade, -1, cv2.LINE_AA, 4)
    if rng.random() < 0.2:
        t = np.linspace(0, 1, 24)
        (x0, x1), (y0, y1), bend = *rng.uniform(-0.5, 0.5, (2, 2)), rng.normal(0, 0.12)
        path = at(
            x0 + (x1 - x0) * t + bend * np.sin(np.pi * t), y0 + (y1 - y0) * t + bend * np.sin(2 * np.pi * t)
        )
        cv2.polylines(specks, [path], False, int(rng.integers(60, 200)), 1, cv2.LINE_AA, 4)
    dark = cv2.GaussianBlur(specks, (0, 0), 0.005 * size).astype(np.float32) / 255
    wide = cv2.GaussianBlur(specks, (0, 0), 0.016 * size).astype(np.float32) / 255
    light *= 1 - rng.uniform(0.3, 0.75) * dark
    light += rng.uniform(0, 0.5) * np.maximum(wide - dark, 0)
    if rng.random() < 0.12:
        _add_bubble(rng, light, size)


def _add_bubble(rng: np.random.Generator, light: Plane, size: int) -> None:
    """A ring, black outside and bright in the middle: round like a spheroid, and none."""
    x, y = rng.uniform(-0.45, 0.45, 2)
    r = rng.uniform(0.025, 0.06)
    axis = _axis(size)
    d = np.hypot(axis[None, :] - x, axis[:, None] - y) / r
    light *= (1 - 0.7 * np.exp(-(((d - 0.85) / 0.16) ** 2)) + 0.25 * np.exp(-((d / 0.4) ** 2))).astype(
        np.float32
    )
