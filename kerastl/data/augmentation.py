"""Random changes of images and what they are made of, seeded by example."""

from dataclasses import dataclass

import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail

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


FILLS = ("reflect", "nearest")
# One column each: flip, rotation, area, aspect, x, y, brightness, contrast, saturation.
_DRAWS = 9
# Rec. 601 luma: how bright the eye finds red, green and blue.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
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


def changes_signature(
    chance: Augmentation, total: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types of what `draw_changes` makes."""
    changes: dict[str, tuple[tuple[int, ...], str]] = {}
    # None of no columns: `Dataset.unbatch` crashes on empty rows.
    if chance.moves:
        changes["geometry"] = (total, 4 if chance.is_window else 8), "float32"
    if chance.recolours:
        changes["tones"] = (total, 3), "float32"
    if chance.operations:
        shape = total, chance.operations
        changes["steps"] = shape, "int32"
        changes["strengths"] = (*shape, 3), "float32"
    if chance.erasing:
        changes["erased"] = (total, 4), "float32"
    return changes


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
