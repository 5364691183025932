"""Random changes of images and what they are made of, seeded by example."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl.data.images import PixelStore

if TYPE_CHECKING:
    import tensorflow as tf


#: The first six move pixels; the next three are factors of `recolour`.
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_MOVING = 6
_TONES = 9
_SHEAR, _SHIFT, _DEGREES, _TONE, _BITS = 0.3, 150 / 331, 30.0, 0.9, 4.0


def draw_operations(
    count: int, operations: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which operations each image gets: `(chosen, signs)`, both `(count, operations)`.

    Row i depends on seed, epoch and i only.
    """
    table = np.random.default_rng([seed, epoch, 4]).random((count, operations, 2))
    chosen = (table[..., 0] * len(OPERATIONS)).astype(np.int32)
    return chosen, np.where(table[..., 1] < 0.5, -1.0, 1.0)


def moving_maps(
    chosen: np.ndarray, signs: np.ndarray, magnitude: float, height: int, width: int
) -> np.ndarray:
    """Affine maps `(n, 3, 3)` from output to input positions, in pixels."""
    whole = np.tile(np.eye(3), (len(chosen), 1, 1))
    for slot in range(chosen.shape[1]):
        name, strength = chosen[:, slot], magnitude * signs[:, slot]
        angle = np.deg2rad(_DEGREES * strength) * (name == 5)
        maps = np.zeros_like(whole)
        maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
        maps[:, 0, 1] = -np.sin(angle) + _SHEAR * strength * (name == 1)
        maps[:, 1, 0] = np.sin(angle) + _SHEAR * strength * (name == 2)
        # About the centre: what lies there stays there.
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        maps[:, :2, 2] = centre - maps[:, :2, :2] @ centre
        maps[:, 0, 2] += _SHIFT * width * strength * (name == 3)
        maps[:, 1, 2] += _SHIFT * height * strength * (name == 4)
        maps[:, 2, 2] = 1
        # The first operation is the first to change the image.
        whole = whole @ maps
    return whole


def after(maps: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Maps `(n, 8)` with others `(n, 3, 3)` applied to their result."""
    ends = np.concatenate([maps, np.ones((len(maps), 1))], axis=1).reshape(-1, 3, 3)
    return (ends @ moving).reshape(-1, 9)[:, :8].astype(np.float32)


def colour_steps(
    chosen: np.ndarray, signs: np.ndarray, magnitude: float
) -> tuple[np.ndarray, np.ndarray]:
    """The operations on colours, as `operate` takes them.

    Returns:
        `steps` int32 `(n, k)`: 0 for `recolour`, then one for each other operation;
        `strengths` float32 `(n, k, 3)`: its factors, or its one number thrice.
    """
    steps = np.maximum(chosen - _TONES + 1, 0).astype(np.int32)
    factors = 1 + _TONE * magnitude * signs
    numbers = factors * (chosen == OPERATIONS.index("sharpness"))
    # Powers of two: the grey levels that become one.
    numbers += 2.0 ** round(_BITS * magnitude) * (chosen == 10)
    numbers += 255 * (1 - magnitude) * (chosen == 11)
    strengths = np.repeat(numbers[..., None], 3, axis=-1)
    tone = steps == 0
    strengths[tone] = 1
    for column in range(3):
        mine = chosen == _MOVING + column
        strengths[mine, column] = factors[mine]
    return steps, strengths.astype(np.float32)


def sharpen(images: "tf.Tensor", strengths: "tf.Tensor") -> "tf.Tensor":
    """Images between smooth (0) and sharper than they were (above 1)."""
    import tensorflow as tf

    height, width = images.shape[1], images.shape[2]
    inner = images[:, 1 : height - 1, 1 : width - 1]
    near = sum(
        images[:, y : height - 2 + y, x : width - 2 + x]
        for y in range(3)
        for x in range(3)
    )
    change = (near + 4 * inner) / 13 - inner
    smooth = images + tf.pad(change, [[0, 0], [1, 1], [1, 1], [0, 0]])
    factor = strengths[:, :1, None, None]
    return tf.clip_by_value(smooth + factor * (images - smooth), 0.0, 255.0)


def posterize(images: "tf.Tensor", strengths: "tf.Tensor") -> "tf.Tensor":
    """Images with fewer grey levels: the lowest of each run of them."""
    import tensorflow as tf

    run = strengths[:, :1, None, None]
    return tf.floor(tf.round(images) / run) * run


def solarize(images: "tf.Tensor", strengths: "tf.Tensor") -> "tf.Tensor":
    """Images whose bright pixels, from a limit on, are inverted."""
    import tensorflow as tf

    return tf.where(images < strengths[:, :1, None, None], images, 255 - images)


def autocontrast(images: "tf.Tensor", strengths: "tf.Tensor") -> "tf.Tensor":
    """Images whose channels each span 0-255."""
    import tensorflow as tf

    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(images, axis=(1, 2), keepdims=True)
    span = high - low
    flat = span < 1
    wide = (images - low) * (255 / tf.where(flat, 1.0, span))
    return tf.where(flat, images, tf.minimum(wide, 255.0))


def equalize(images: "tf.Tensor", strengths: "tf.Tensor") -> "tf.Tensor":
    """Images whose grey levels are about equally frequent in each channel."""
    import tensorflow as tf

    shape = tf.shape(images)
    levels = tf.transpose(tf.cast(tf.round(images), tf.int32), [0, 3, 1, 2])
    levels = tf.reshape(levels, [shape[0] * shape[3], shape[1] * shape[2]])
    rows = tf.shape(levels)[0]
    bins = levels + 256 * tf.range(rows)[:, None]
    counts = tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, 256 * rows)
    brightest = tf.reduce_max(bins, axis=1)
    # So that the brightest level becomes 255.
    step = (shape[1] * shape[2] - tf.gather(counts, brightest)) // 255
    below = tf.cumsum(tf.reshape(counts, [rows, 256]), axis=1, exclusive=True)
    table = (below + step[:, None] // 2) // tf.maximum(step, 1)[:, None]
    table = tf.where(step[:, None] > 0, tf.minimum(table, 255), tf.range(256)[None])
    made = tf.gather(tf.reshape(table, [-1]), bins)
    made = tf.reshape(made, [shape[0], shape[3], shape[1], shape[2]])
    return tf.cast(tf.transpose(made, [0, 2, 3, 1]), images.dtype)


FILLS = ("reflect", "nearest")
# One column each: flip, rotation, area, aspect, x, y, brightness, contrast, saturation.
_DRAWS = 9
# Rec. 601 luma: how bright the eye finds red, green and blue.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Pixels of float32 positions near an edge may round to beyond it.
_EDGE = 1e-5


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are changed at random.

    An image's change depends on seed, epoch and its index alone, so neither the
    batch size nor the order can alter it. All zeros change nothing.

    Attributes:
        flip: Whether half of the images are mirrored left to right.
        rotation: Largest angle in degrees, to either side.
        area: (least, most) share of the image's area that is seen, drawn evenly;
            above 1 the image shrinks.
        aspect: Largest stretch of the seen window's width over its height, >= 1.
        translation: Largest shift beyond the window's free room, as a share of the
            side.
        brightness: Largest relative change of brightness, in [0, 1).
        contrast: Largest relative change of contrast, in [0, 1).
        saturation: Largest relative change of saturation, in [0, 1].
        fill: What lies beyond the border: `"reflect"` or `"nearest"`.
        operations: How many of RandAugment's fourteen operations each image goes
            through, after all else.
        magnitude: Strength of those operations, 0 to 1: 0.3 is torchvision's 9 of 30.
        erasing: Share of the images of which a rectangle is filled with the image's
            mean colour, last of all, 0 to 1.
        erased: (least, most) share of the image's area that the rectangle takes, drawn
            evenly; its sides are to each other as 0.3 to 1 and up to 1 to 0.3.

    Raises:
        ValueError: If a value lies outside its range.

    Example:
        >>> PRESETS["digits"].flip
        False

    Reference:
        Cubuk et al. (2020), RandAugment, arXiv:1909.13719, §3 (`operations`); Zhong et
        al. (2020), Random Erasing, arXiv:1708.04896, §3.2 (`erasing`), "RE-M".
    """

    flip: bool = False
    rotation: float = 0.0
    area: tuple[float, float] = (1.0, 1.0)
    aspect: float = 1.0
    translation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    fill: str = "reflect"
    operations: int = 0
    magnitude: float = 0.3
    erasing: float = 0.0
    erased: tuple[float, float] = (0.02, 0.4)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("rotation", self.rotation, 0, 180)
        check_number("aspect", self.aspect, 1, 4)
        check_number("translation", self.translation, 0, 1)
        check_number("brightness", self.brightness, 0, below=1)
        check_number("contrast", self.contrast, 0, below=1)
        check_number("saturation", self.saturation, 0, 1)
        check_choice("fill", self.fill, FILLS)
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 4:
            fail("area", "(least, most) with 0 < least <= most <= 4", self.area)
        check_integer("operations", self.operations, 0)
        check_number("magnitude", self.magnitude, 0, 1)
        check_number("erasing", self.erasing, 0, 1)
        if len(self.erased) != 2 or not 0 < self.erased[0] <= self.erased[1] < 1:
            fail("erased", "(least, most) with 0 < least <= most < 1", self.erased)

    @property
    def is_window(self) -> bool:
        """Whether each change is an upright window within the image."""
        upright = not self.rotation and not self.translation and not self.operations
        return upright and self.area[1] <= 1

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        area = self.area != (1, 1) or self.aspect != 1
        return bool(self.flip or area or not self.is_window)

    @property
    def recolours(self) -> bool:
        """Whether pixels change colour."""
        return bool(self.brightness or self.contrast or self.saturation)

    @property
    def differs(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.moves or self.recolours or self.erasing)


PRESETS = {
    "light": Augmentation(flip=True, area=(0.8, 1.0)),
    "standard": Augmentation(
        flip=True,
        area=(0.5, 1.0),
        aspect=4 / 3,
        brightness=0.15,
        contrast=0.15,
        saturation=0.15,
    ),
    "strong": Augmentation(
        flip=True,
        rotation=15,
        area=(0.25, 1.0),
        aspect=4 / 3,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
    ),
    # torchvision's for ImageNet from scratch; "standard" is milder, for fine-tuning.
    "resized_crop": Augmentation(flip=True, area=(0.08, 1.0), aspect=4 / 3),
    "randaugment": Augmentation(
        flip=True, area=(0.5, 1.0), aspect=4 / 3, operations=2, magnitude=0.3
    ),
    # A mirrored digit is another sign or none.
    "digits": Augmentation(
        rotation=10, area=(0.8, 1.2), translation=0.08, contrast=0.1, fill="nearest"
    ),
    # Of kinds of pictures. The rule: a change is here only if it keeps the label,
    # whoever gives it. A slide has no up and no left, and stains differ.
    "microscopy": Augmentation(
        flip=True,
        rotation=180,
        area=(0.8, 1.0),
        brightness=0.15,
        contrast=0.15,
        saturation=0.3,
    ),
    # The heart is on one side, and there is no colour: position and exposure alone.
    "xray": Augmentation(rotation=5, area=(0.9, 1.0), brightness=0.2, contrast=0.2),
    # Side and depth mean something: how much is seen, gain and contrast alone.
    "ultrasound": Augmentation(area=(0.8, 1.0), brightness=0.3, contrast=0.3),
    # A road lies below whatever the light; mirrored it is a road, but a sign is not.
    "night": Augmentation(
        flip=True, area=(0.8, 1.0), brightness=0.6, contrast=0.3, saturation=0.5
    ),
    # Fog takes contrast and colour, and little of the light.
    "fog": Augmentation(
        flip=True, area=(0.8, 1.0), brightness=0.2, contrast=0.6, saturation=0.7
    ),
}


def as_augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """A preset by name, or the object itself."""
    if augment is None or isinstance(augment, Augmentation):
        return augment
    check_choice("augment", augment, tuple(PRESETS))
    return PRESETS[augment]


def draw(count: int, seed: int, epoch: int) -> np.ndarray:
    """Uniform numbers `(count, 9)`; row i depends on seed, epoch and i only."""
    # One call fills row after row, so a longer table begins with the shorter one.
    random = np.random.default_rng([seed, epoch, 1])
    return random.random((count, _DRAWS))


#: The flattest rectangle that is erased: height over width.
_FLATTEST = 0.3


def rectangles(
    augmentation: Augmentation, random: np.ndarray, height: int, width: int
) -> np.ndarray:
    """What is erased, `(n, 4)`: y, x, y, x of two corners in pixels, 0 for none.

    From uniform numbers `(n, 5)`: whether, area, shape, and place.
    """
    low, high = augmentation.erased
    area = (low + (high - low) * random[:, 1]) * height * width
    ratio = np.exp((2 * random[:, 2] - 1) * np.log(_FLATTEST))
    tall = np.clip(np.rint(np.sqrt(area * ratio)), 1, height)
    wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width)
    top = np.floor(random[:, 3] * (height - tall + 1))
    left = np.floor(random[:, 4] * (width - wide + 1))
    boxes = np.stack([top, left, top + tall, left + wide], axis=1)
    chosen = random[:, :1] < augmentation.erasing
    return np.where(chosen, boxes, 0).astype(np.float32)


def erase(images: "tf.Tensor", boxes: "tf.Tensor") -> "tf.Tensor":
    """Images with their mean colours in the rectangles of `rectangles`."""
    import tensorflow as tf

    top, left, bottom, right = (boxes[:, i, None] for i in range(4))
    rows = tf.range(images.shape[1], dtype=tf.float32)
    columns = tf.range(images.shape[2], dtype=tf.float32)
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    inside = tall[:, :, None, None] & wide[:, None, :, None]
    return tf.where(inside, tf.reduce_mean(images, (1, 2), keepdims=True), images)


def transforms(
    augmentation: Augmentation, draws: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Affine maps `(n, 8)` from output to input positions, in pixels.

    Flip, rotation, window and shift in one map, so that pixels are interpolated
    once.
    """
    flip, turn, _, stretch, right, down = (2 * draws[:, :6] - 1).T
    low, high = augmentation.area
    side = np.sqrt(low + (high - low) * draws[:, 2])
    ratio = np.exp(0.5 * stretch * np.log(augmentation.aspect))
    wide, tall = side * ratio, side / ratio
    if high <= 1:
        wide, tall = np.minimum(wide, 1), np.minimum(tall, 1)
    angle = np.deg2rad(augmentation.rotation * turn)
    mirror = np.where((flip < 0) & augmentation.flip, -1.0, 1.0)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    room_x = np.clip(1 - wide, 0, None) / 2 + augmentation.translation
    room_y = np.clip(1 - tall, 0, None) / 2 + augmentation.translation
    xx, xy = np.cos(angle) * wide * mirror, -np.sin(angle) * tall
    yx, yy = np.sin(angle) * wide * mirror, np.cos(angle) * tall
    to_x = centre_x * (1 + 2 * room_x * right) - xx * centre_x - xy * centre_y
    to_y = centre_y * (1 + 2 * room_y * down) - yx * centre_x - yy * centre_y
    none = np.zeros_like(to_x)
    maps = [xx, xy, to_x, yx, yy, to_y, none, none]
    return np.stack(maps, axis=1).astype(np.float32)


def windows(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upright maps as boxes `(n, 4)`: y, x, y, x of two corners, 0 to 1."""
    far_x, far_y = max(width - 1, 1), max(height - 1, 1)
    left, top = maps[:, 2] / far_x, maps[:, 5] / far_y
    boxes = np.stack([top, left, top + maps[:, 4], left + maps[:, 0]], axis=1)
    whole = (np.abs(boxes) < _EDGE) | (np.abs(boxes - 1) < _EDGE)
    whole &= np.roll(whole, 2, axis=1)
    inside = np.clip(boxes, _EDGE, 1 - _EDGE)
    return np.where(whole, np.rint(boxes), inside).astype(np.float32)


def tones(augmentation: Augmentation, draws: np.ndarray) -> np.ndarray:
    """Factors `(n, 3)` of brightness, contrast and saturation; 1 changes nothing."""
    most = [augmentation.brightness, augmentation.contrast, augmentation.saturation]
    return (1 + (2 * draws[:, 6:] - 1) * np.array(most)).astype(np.float32)


def move(
    images: "tf.Tensor", maps: "tf.Tensor", *, size: tuple[int, int], fill: str
) -> "tf.Tensor":
    """Images under affine maps, bilinear, float32."""
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=maps,
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill.upper(),
    )


def crop(
    images: "tf.Tensor", boxes: "tf.Tensor", *, size: tuple[int, int]
) -> "tf.Tensor":
    """Upright windows of images, bilinear, float32: the fast case of `move`."""
    import tensorflow as tf

    def cut(images: "tf.Tensor", boxes: "tf.Tensor") -> "tf.Tensor":
        rows = tf.range(tf.shape(images)[0])
        return tf.image.crop_and_resize(images, boxes, rows, size)

    if images.shape[0] is not None:
        return cut(images, boxes)
    # TensorFlow to 2.20 warns, whatever the log level, in a thousand characters that it
    # cannot guess the cost of crops whose number it does not know. Of one it knows it.
    return tf.map_fn(
        lambda pair: cut(pair[0][None], pair[1][None])[0],
        (images, boxes),
        fn_output_signature=tf.TensorSpec((*size, images.shape[-1]), tf.float32),
    )


def recolour(images: "tf.Tensor", factors: "tf.Tensor") -> "tf.Tensor":
    """Images with other brightness, contrast and saturation, cut to 0-255.

    The three steps are one linear map of the colours plus a grey level:
    `s c b x + (1 - s) c b grey(x) + (1 - c) b mean(grey)`.
    """
    import tensorflow as tf

    shape = tf.shape(images)
    colours = tf.reshape(images, [shape[0], -1, 3])
    bright, contrast, saturation = (factors[:, i, None, None] for i in range(3))
    mean = tf.reduce_mean(colours, axis=1, keepdims=True) @ _LUMA[None, :, None]
    gain = bright * contrast
    mixing = saturation * tf.eye(3) + (1 - saturation) * _LUMA[:, None] * tf.ones(
        [1, 3]
    )
    colours = colours @ (gain * mixing) + (1 - contrast) * bright * mean
    return tf.reshape(tf.clip_by_value(colours, 0.0, 255.0), shape)


#: In the order of `colour_steps`.
_STEPS = (recolour, sharpen, posterize, solarize, autocontrast, equalize)


def as_maps(geometry: np.ndarray, height: int, width: int) -> np.ndarray:
    """The `geometry` of `draw_changes` as affine maps `(n, 8)`, whatever its form."""
    if geometry.shape[1] == 8:
        return geometry
    top, left, bottom, right = geometry.astype(np.float64).T
    none = np.zeros_like(top)
    # `crop` sees as many steps between two corners as the result has between its own.
    maps = [right - left, none, left * (width - 1), none]
    maps += [bottom - top, top * (height - 1), none, none]
    return np.stack(maps, axis=1).astype(np.float32)


def draw_changes(
    chance: Augmentation, total: int, size: tuple[int, int], seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """How each image is changed; row i depends on seed, epoch and i only.

    Args:
        chance: What may happen.
        total: Number of images.
        size: `(height, width)` in pixels.
        seed: Non-negative integer.
        epoch: Number of the epoch, from 0.

    Returns:
        Where there are such: `geometry` `(n, 4 or 8)`, `tones` `(n, 3)`, the `steps`
        `(n, k)` of RandAugment with their `strengths` `(n, k, 3)`, and what is
        `erased` `(n, 4)`.
    """
    changes: dict[str, np.ndarray] = {}
    if chance.erasing:
        # Numbers of their own, so that the others stay what they were without.
        numbers = np.random.default_rng([seed, epoch, 5]).random((total, 5))
        changes["erased"] = rectangles(chance, numbers, *size)
    if not chance.moves and not chance.recolours:
        return changes
    draws = draw(total, seed, epoch)
    if chance.moves:
        changes["geometry"] = transforms(chance, draws, *size)
    if chance.moves and chance.is_window:
        changes["geometry"] = windows(changes["geometry"], *size)
    if chance.recolours:
        changes["tones"] = tones(chance, draws)
    if chance.operations:
        chosen, signs = draw_operations(total, chance.operations, seed, epoch)
        maps = moving_maps(chosen, signs, chance.magnitude, *size)
        changes["geometry"] = after(changes["geometry"], maps)
        steps, strengths = colour_steps(chosen, signs, chance.magnitude)
        changes.update(steps=steps, strengths=strengths)
    return changes


def changes_signature(chance: Augmentation, total: int) -> dict[str, "tf.TensorSpec"]:
    """Shapes and types of what `draw_changes` makes."""
    import tensorflow as tf

    changes = {}
    # None of no columns: `Dataset.unbatch` crashes on empty rows.
    if chance.moves:
        columns = 4 if chance.is_window else 8
        changes["geometry"] = tf.TensorSpec((total, columns), tf.float32)
    if chance.recolours:
        changes["tones"] = tf.TensorSpec((total, 3), tf.float32)
    if chance.operations:
        shape = (total, chance.operations)
        changes["steps"] = tf.TensorSpec(shape, tf.int32)
        changes["strengths"] = tf.TensorSpec((*shape, 3), tf.float32)
    if chance.erasing:
        changes["erased"] = tf.TensorSpec((total, 4), tf.float32)
    return changes


def change(
    images: "tf.Tensor",
    changes: dict[str, "tf.Tensor"],
    chance: Augmentation,
    size: tuple[int, int],
) -> "tf.Tensor":
    """A batch of images 0-255 with its rows of `draw_changes` applied, float32."""
    import tensorflow as tf

    if chance.moves and chance.is_window:
        images = crop(images, changes["geometry"], size=size)
    elif chance.moves:
        images = move(images, changes["geometry"], size=size, fill=chance.fill)
    images = tf.cast(images, tf.float32)
    if chance.recolours:
        images = recolour(images, changes["tones"])
    if chance.operations:
        images = operate(images, changes["steps"], changes["strengths"])
    if chance.erasing:
        images = erase(images, changes["erased"])
    return images


def operate(
    images: "tf.Tensor", steps: "tf.Tensor", strengths: "tf.Tensor"
) -> "tf.Tensor":
    """Images after the operations drawn for each, one after the other.

    Each operation sees the images that it was drawn for and no others.

    Args:
        images: Float `(b, height, width, 3)`, 0-255.
        steps: Integers `(b, k)` below 6, as from `colour_steps`.
        strengths: Floats `(b, k, 3)`.
    """
    import tensorflow as tf

    rows = tf.range(tf.shape(images)[0])
    shape = images.shape
    for slot in range(steps.shape[1]):
        step, strength = steps[:, slot], strengths[:, slot]
        places = tf.dynamic_partition(rows, step, len(_STEPS))
        parts = tf.dynamic_partition(images, step, len(_STEPS))
        levels = tf.dynamic_partition(strength, step, len(_STEPS))
        made = [f(*given) for f, *given in zip(_STEPS, parts, levels, strict=True)]
        images = tf.ensure_shape(tf.dynamic_stitch(places, made), shape)
    return images


def check_views(views: int, augment: str | Augmentation | None, seed: int) -> None:
    """Raise unless so many views can be made.

    Raises:
        ValueError: If there are to be several and nothing makes them differ.
    """
    check_integer("views", views, 1)
    check_integer("seed", seed, 0)
    chance = as_augmentation(augment)
    if views > 1 and (chance is None or not chance.differs):
        fail("augment", "an augmentation, for the views to differ", augment)


def view_rows(
    store: PixelStore, view: int, augment: str | Augmentation | None, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the pixels of one view by index.

    Args:
        store: Pixels of the images as they are.
        view: 0: the images themselves; 1: their mirror images where the augmentation
            flips at all; the others are drawn.
        augment: Augmentation that the views come from.
        seed: Non-negative integer; an image's view follows from it, the view's number
            and the image's index.
    """
    if view == 0:
        return store.rows
    chance = as_augmentation(augment)
    if view == 1 and chance.flip:
        return lambda indices: store.rows(indices)[:, :, ::-1]
    size = store.image_size
    changes = draw_changes(chance, len(store.image_set), size, seed, view)

    def rows(indices: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        # On a GPU TensorFlow would take the memory from JAX.
        with tf.device("CPU"):
            mine = {name: tf.constant(row[indices]) for name, row in changes.items()}
            images = tf.constant(store.rows(indices))
            return change(images, mine, chance, size).numpy()

    return rows
