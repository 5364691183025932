"""Random changes of images that keep their class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail

if TYPE_CHECKING:
    import tensorflow as tf

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

    Raises:
        ValueError: If a value lies outside its range.

    Example:
        >>> PRESETS["digits"].flip
        False

    Reference:
        Cubuk et al. (2020), RandAugment, arXiv:1909.13719, §3 (`operations`).
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

    count = tf.shape(images)[0]
    return tf.image.crop_and_resize(images, boxes, tf.range(count), size)


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
