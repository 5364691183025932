"""Outlines and textures of drawn shapes."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image as PillowImage

SHAPES = ("circle", "cross", "crescent", "heart", "ring", "square", "star", "triangle")
BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "clouds")
# Drawn larger and reduced, edges come out smooth.
_OVERSAMPLING = 3
# A square stands on a side, not on a corner.
_EIGHTH = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)


def draw_mask(
    shape: str, size: int, place: tuple[float, float], radius: float, rotation: float
) -> "PillowImage.Image":
    """The shape in white on black, with smooth edges, `size` pixels square."""
    from PIL import Image, ImageDraw

    large = size * _OVERSAMPLING
    canvas = Image.new("L", (large, large))
    pen = ImageDraw.Draw(canvas)
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def put(points: np.ndarray, fill: int) -> None:
        # Rows of (x, y) times this turn counter-clockwise where y points down.
        moved = (points @ turn * radius + np.array(place)) * _OVERSAMPLING
        pen.polygon([tuple(point) for point in moved.tolist()], fill=fill)

    put(_outline(shape), 255)
    if shape == "ring":
        put(0.55 * _circle(), 0)
    if shape == "crescent":
        put(0.8 * _circle() + np.array([0.45, 0.0]), 0)
    return canvas.reduce(_OVERSAMPLING)


def draw_texture(
    random: np.random.Generator,
    kind: str,
    size: int,
    colour: np.ndarray,
    strength: float,
) -> np.ndarray:
    """A pattern of one colour as float32 `(size, size, 3)`; it may leave 0-255."""
    level = _pattern(random, kind, size) * strength
    return colour.astype(np.float32) * (1 + level[..., None])


def _pattern(random: np.random.Generator, kind: str, size: int) -> np.ndarray:
    """Lightness `(size, size)` in [-1, 1]."""
    if kind == "plain":
        return np.zeros((size, size), np.float32)
    if kind == "speckles":
        return np.where(random.random((size, size)) < 0.2, -1, 0).astype(np.float32)
    if kind == "clouds":
        return _clouds(random, size)
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    angle = random.uniform(0, np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    if kind == "gradient":
        return (2 * (along - along.min()) / np.ptp(along) - 1).astype(np.float32)
    waves = random.uniform(5, 10)
    first = np.sign(np.sin(2 * np.pi * waves * along))
    if kind == "stripes":
        return first
    across = np.cos(angle) * rows - np.sin(angle) * columns
    return first * np.sign(np.sin(2 * np.pi * waves * across))


def _clouds(random: np.random.Generator, size: int) -> np.ndarray:
    from PIL import Image

    coarse = random.integers(0, 256, (6, 6), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 127.5 - 1


def _circle() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _corners(count: int, radii: tuple[float, ...] = (1.0,)) -> np.ndarray:
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    lengths = np.resize(radii, count)
    return np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], axis=1)


def _outline(shape: str) -> np.ndarray:
    """Corners `(k, 2)` within the unit circle, y pointing down."""
    if shape in ("circle", "ring", "crescent"):
        return _circle()
    if shape == "square":
        return _corners(4) @ _EIGHTH
    if shape == "triangle":
        return _corners(3)
    if shape == "star":
        return _corners(10, (1.0, 0.42))
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x, -y], axis=1) / 17
    thin, far = 0.3, 0.95
    arm = [(thin, -far), (thin, -thin), (far, -thin)]
    # A quarter turn is (x, y) -> (-y, x).
    corners = []
    for _ in range(4):
        corners += arm
        arm = [(-y, x) for x, y in arm]
    return np.array(corners)
