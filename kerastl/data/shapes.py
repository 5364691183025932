"""Drawn pictures of shapes, with the factors they were drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl._progress import Progress
from kerastl.data.boxes import Boxes
from kerastl.data.sets import ImageSet

if TYPE_CHECKING:
    from PIL import Image as PillowImage


SHAPES = ("circle", "cross", "crescent", "heart", "ring", "square", "star", "triangle")
BACKGROUNDS = ("plain", "gradient", "stripes", "checks", "clouds")
DEFAULT_CLASSES = ("circle", "cross", "ring", "square", "star", "triangle")
STYLES = ("photo", "flat", "night", "sketch")
TEXTURES = ("plain", "stripes", "checks", "speckles")
COLOURS = {
    "red": (205, 50, 45),
    "orange": (235, 140, 40),
    "yellow": (235, 215, 60),
    "green": (60, 160, 70),
    "cyan": (60, 180, 190),
    "blue": (55, 90, 200),
    "purple": (140, 70, 170),
    "pink": (235, 130, 170),
}
_SMALLEST = 16
#: Places that are tried for a shape among others.
_ATTEMPTS = 30
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


@dataclass(frozen=True, eq=False)
class ShapeFactors:
    """What each drawn image was made of.

    Attributes:
        shapes: Class name of each image, strings `(n,)`.
        colours: Colour name of the shape.
        textures: Texture name of the shape.
        backgrounds: Background name.
        styles: Style name.
        centres: (x, y) of the shape's centre `(n, 2)`, in pixels.
        radii: Radius of the shape's circumscribed circle `(n,)`, in pixels.
        rotations: Angle `(n,)` in degrees, counter-clockwise.
        boxes: (left, top, right, bottom) of the mask `(n, 4)`, in pixels,
            right and bottom exclusive.
        masks: Booleans `(n, height, width)`: where the shape is.

    Example:
        >>> _, factors = make_shapes(2, image_size=32)
        >>> factors.masks.shape
        (2, 32, 32)
    """

    shapes: np.ndarray
    colours: np.ndarray
    textures: np.ndarray
    backgrounds: np.ndarray
    styles: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    rotations: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, eq=False)
class SceneFactors:
    """What images of several shapes were made of.

    Attributes:
        boxes: The boxes and classes of the shapes, as the set has them for labels.
        masks: uint8 `(n, height, width)`: 0 where there is no shape, else the index of
            its class plus 1.

    Example:
        >>> images, factors = make_shapes(2, image_size=64, objects=3)
        >>> len(images.labels), factors.masks.shape
        (2, (2, 64, 64))
    """

    boxes: Boxes
    masks: np.ndarray


def make_shapes(
    num_images: int,
    *,
    objects: int | tuple[int, int] | None = None,
    image_size: int = 64,
    seed: int = 0,
    classes: Sequence[str] = DEFAULT_CLASSES,
    style: str | None = "photo",
    background: str | None = None,
    texture: str | None = None,
    colour: str | None = None,
    clutter: int = 4,
    progress: Progress | None = None,
) -> tuple[ImageSet, ShapeFactors | SceneFactors]:
    """Pictures of one shape each, or of several with their boxes, and their factors.

    The class is the shape; colour, texture, background, place, size, angle and
    clutter are independent of it. Image i depends on the seed and i only, so a
    longer set begins with the shorter one.

    Args:
        num_images: How many; the classes are balanced.
        objects: None: one shape an image, whose class is the image's label. Else the
            largest number of shapes, or the smallest and the largest: the labels are
            their `Boxes`, and no two lie over each other.
        image_size: Side in pixels, at least 16.
        seed: Non-negative integer.
        classes: Names out of circle, cross, crescent, heart, ring, square, star
            and triangle.
        style: `"photo"` (light, noise and blur), `"flat"`, `"night"` (dark, noisy),
            `"sketch"` (outlines on paper), or None for any: another style is a
            shifted domain with the same classes.
        background: `"plain"`, `"gradient"`, `"stripes"`, `"checks"` or `"clouds"`,
            or None for any.
        texture: `"plain"`, `"stripes"`, `"checks"`, `"speckles"`, or None for any.
        colour: A name in `COLOURS`, or None for any.
        clutter: Largest number of lines and specks that distract.
        progress: Called with (done, total), or None.

    Returns:
        (set of uint8 arrays `(n, image_size, image_size, 3)`, factors): `ShapeFactors`,
        or `SceneFactors` of several shapes.

    Raises:
        ValueError: If a name is unknown or a number out of range.

    Example:
        >>> shapes, factors = make_shapes(6, image_size=32, style="sketch")
        >>> shapes.counts()["star"], sorted(set(factors.styles.tolist()))
        (1, ['sketch'])
    """
    check_integer("num_images", num_images, 1)
    check_integer("image_size", image_size, _SMALLEST)
    check_integer("seed", seed, 0)
    check_integer("clutter", clutter, 0)
    if isinstance(classes, str) or len(set(classes)) != len(classes) or not classes:
        fail("classes", "a sequence of different names", classes)
    for name in classes:
        check_choice("classes", name, SHAPES)
    menus = {}
    for name, value, choices in (
        ("colour", colour, tuple(COLOURS)),
        ("texture", texture, TEXTURES),
        ("background", background, BACKGROUNDS),
        ("style", style, STYLES),
    ):
        if value is not None:
            check_choice(name, value, choices)
        menus[name] = choices if value is None else (value,)
    if objects is not None:
        limits = _object_limits(objects)
        given = num_images, limits, image_size, seed, classes, menus, clutter
        return _scenes(*given, progress)
    # Blocks, each a permutation of the classes, keep the classes balanced.
    blocks = range(-(-num_images // len(classes)))
    orders = [
        np.random.default_rng([seed, block, 0]).permutation(len(classes))
        for block in blocks
    ]
    labels = np.concatenate(orders)[:num_images]
    pixels = np.empty((num_images, image_size, image_size, 3), np.uint8)
    masks = np.empty((num_images, image_size, image_size), bool)
    scenes = []
    for i, label in enumerate(labels):
        random = np.random.default_rng([seed, i, 1])
        scene = _draw_scene(random, classes[label], menus)
        pixels[i], masks[i] = _paint(random, scene, image_size, clutter)
        scenes.append(scene)
        if progress is not None and (i % 50 == 49 or i + 1 == num_images):
            progress(i + 1, num_images)
    shapes, colours, textures, backgrounds, styles, x, y, radii, rotations = (
        np.array(column) for column in zip(*scenes, strict=True)
    )
    factors = ShapeFactors(
        shapes=shapes,
        colours=colours,
        textures=textures,
        backgrounds=backgrounds,
        styles=styles,
        centres=np.stack([x, y], axis=1) * image_size,
        radii=radii * image_size,
        rotations=rotations,
        boxes=_boxes(masks),
        masks=masks,
    )
    return ImageSet(pixels, labels, tuple(classes), "shapes"), factors


def _object_limits(objects: int | tuple[int, int]) -> tuple[int, int]:
    """The smallest and largest number of shapes in an image."""
    pair = objects if isinstance(objects, (tuple, list)) else (1, objects)
    if len(pair) != 2:
        fail("objects", "a number or (smallest, largest)", objects)
    check_integer("objects", pair[0], 0)
    check_integer("objects", pair[1], max(1, pair[0]))
    return int(pair[0]), int(pair[1])


def _scenes(
    num_images: int,
    limits: tuple[int, int],
    size: int,
    seed: int,
    classes: Sequence[str],
    menus: dict[str, tuple[str, ...]],
    clutter: int,
    progress: Progress | None,
) -> tuple[ImageSet, SceneFactors]:
    """Images of several shapes that do not touch."""
    pixels = np.empty((num_images, size, size, 3), np.uint8)
    masks = np.zeros((num_images, size, size), np.uint8)
    boxes, kinds = [], []
    for i in range(num_images):
        random = np.random.default_rng([seed, i, 2])
        count = int(random.integers(limits[0], limits[1] + 1))
        labels = random.integers(len(classes), size=max(count, 1))
        scenes = [_draw_scene(random, classes[label], menus) for label in labels]
        placed = _placed(random, scenes) if count else []
        pixels[i], covers = _paint_all(random, scenes[0], placed, size, clutter)
        kinds.append(labels[: len(placed)])
        boxes.append(_boxes(covers) if len(placed) else np.zeros((0, 4)))
        for label, cover in zip(labels, covers, strict=False):
            masks[i][cover] = label + 1
        if progress is not None and (i % 50 == 49 or i + 1 == num_images):
            progress(i + 1, num_images)
    labels = Boxes(boxes, kinds, tuple(classes), (size, size))
    return ImageSet(pixels, labels, name="shapes"), SceneFactors(labels, masks)


def _placed(random: np.random.Generator, scenes: "list[_Scene]") -> "list[_Scene]":
    """The scenes smaller, and apart: those for which there is room."""
    found: list[_Scene] = []
    for scene in scenes:
        for _ in range(_ATTEMPTS):
            radius = random.uniform(0.08, 0.2)
            x, y = random.uniform(radius, 1 - radius, 2)
            apart = [np.hypot(x - o.x, y - o.y) > radius + o.radius for o in found]
            if all(apart):
                found.append(_Scene(*scene[:5], x, y, radius, scene.rotation))
                break
        else:
            break
    return found


def _paint_all(
    random: np.random.Generator,
    first: "_Scene",
    scenes: "list[_Scene]",
    size: int,
    clutter: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8, booleans `(k, size, size)`) of an image's shapes."""
    from PIL import Image

    taken = {scene.colour for scene in scenes}
    names = [name for name in COLOURS if name not in taken] or list(COLOURS)
    behind = np.array(COLOURS[names[random.integers(len(names))]], np.float32)
    ground = draw_texture(
        random, first.background, size, behind * 0.5 + 90, random.uniform(0.02, 0.14)
    )
    image = ground = _with_clutter(random, ground, size, clutter)
    covers = np.zeros((len(scenes), size, size), np.uint8)
    for number, scene in enumerate(scenes):
        place = (scene.x * size, scene.y * size)
        mask = draw_mask(scene.shape, size, place, scene.radius * size, scene.rotation)
        covers[number] = np.asarray(mask)
        cover = covers[number].astype(np.float32)[..., None] / 255
        front = np.array(COLOURS[scene.colour], np.float32) + random.normal(0, 12, 3)
        strength = random.uniform(0.05, 0.3)
        figure = draw_texture(random, scene.texture, size, front, strength)
        image = image * (1 - cover) + figure * cover
    if first.style == "sketch":
        union = Image.fromarray(covers.max(axis=0, initial=0))
        return _sketch(random, union, ground, size), covers > 127
    return _develop(random, image, first.style, size), covers > 127


class _Scene(NamedTuple):
    """The drawn lots of one image; lengths as shares of the side."""

    shape: str
    colour: str
    texture: str
    background: str
    style: str
    x: float
    y: float
    radius: float
    rotation: float


def _draw_scene(
    random: np.random.Generator, shape: str, menus: dict[str, tuple[str, ...]]
) -> _Scene:
    # Each lot is drawn whether or not it is fixed: the rest stays as it was.
    lots = [menu[int(random.random() * len(menu))] for menu in menus.values()]
    radius = random.uniform(0.22, 0.4)
    x, y = random.uniform(0.9 * radius, 1 - 0.9 * radius, 2)
    return _Scene(shape, *lots, x, y, radius, random.uniform(-30, 30))


def _paint(
    random: np.random.Generator, scene: _Scene, size: int, clutter: int
) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8, mask) of one scene."""
    place = (scene.x * size, scene.y * size)
    mask = draw_mask(scene.shape, size, place, scene.radius * size, scene.rotation)
    cover = np.asarray(mask, np.float32)[..., None] / 255
    names = [name for name in COLOURS if name != scene.colour]
    behind = np.array(COLOURS[names[random.integers(len(names))]], np.float32)
    ground = draw_texture(
        random, scene.background, size, behind * 0.5 + 90, random.uniform(0.02, 0.14)
    )
    ground = _with_clutter(random, ground, size, clutter)
    front = np.array(COLOURS[scene.colour], np.float32) + random.normal(0, 12, 3)
    figure = draw_texture(random, scene.texture, size, front, random.uniform(0.05, 0.3))
    if scene.style == "sketch":
        return _sketch(random, mask, ground, size), cover[..., 0] > 0.5
    image = ground * (1 - cover) + figure * cover
    return _develop(random, image, scene.style, size), cover[..., 0] > 0.5


def _with_clutter(
    random: np.random.Generator, ground: np.ndarray, size: int, clutter: int
) -> np.ndarray:
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for _ in range(random.integers(clutter + 1)):
        ink = tuple(random.integers(30, 226, 3).tolist())
        ends = (random.random(4) * size).tolist()
        reach = random.uniform(0.02, 0.06) * size
        if random.random() < 0.5:
            pen.line(ends, fill=ink, width=max(1, round(reach / 2)))
        else:
            x, y = ends[:2]
            pen.ellipse([x - reach, y - reach, x + reach, y + reach], fill=ink)
    return np.asarray(canvas, np.float32)


def _develop(
    random: np.random.Generator, image: np.ndarray, style: str, size: int
) -> np.ndarray:
    """Light, blur and noise of the style."""
    from PIL import Image, ImageFilter

    if style == "flat":
        return np.clip(image, 0, 255).astype(np.uint8)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    tilt = random.uniform(-0.25, 0.25, 2)
    light = 1 + tilt[0] * ramp[:, None, None] + tilt[1] * ramp[None, :, None]
    image = image * light * random.uniform(0.75, 1.2)
    if style == "night":
        image = image * np.array([0.22, 0.25, 0.38], np.float32)
    soft = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    blurred = soft.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.012) * size))
    grain = random.uniform(2, 9) if style == "photo" else random.uniform(6, 12)
    noise = random.standard_normal((size, size, 3), np.float32) * grain
    return np.clip(np.asarray(blurred, np.float32) + noise, 0, 255).astype(np.uint8)


def _sketch(
    random: np.random.Generator,
    mask: "PillowImage.Image",
    ground: np.ndarray,
    size: int,
) -> np.ndarray:
    """Pencil outlines of the shape, and the ground as faint paper."""
    from PIL import ImageFilter

    outer = mask.filter(ImageFilter.MaxFilter(3))
    width = 3 if size < 2 * _SMALLEST else 5
    inner = mask.filter(ImageFilter.MinFilter(width))
    line = (np.asarray(outer, np.float32) - np.asarray(inner, np.float32)) / 255
    paper = 225 + 0.12 * (ground.mean(axis=2) - 128)
    ink = paper * (1 - line) + random.uniform(30, 90) * line
    ink = ink + random.standard_normal((size, size), np.float32) * random.uniform(2, 7)
    return np.clip(ink, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def _boxes(masks: np.ndarray) -> np.ndarray:
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    last = masks.shape[1]
    left, top = columns.argmax(axis=1), rows.argmax(axis=1)
    right = last - columns[:, ::-1].argmax(axis=1)
    bottom = last - rows[:, ::-1].argmax(axis=1)
    return np.stack([left, top, right, bottom], axis=1)
