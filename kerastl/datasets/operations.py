"""RandAugment: a few operations drawn at random for each image.

Not `keras.layers.RandAugment`: it draws the operations once for a whole batch,
computes all eleven for every image, and turns images by up to half a turn at its
default strength. Here they are torchvision's fourteen, at its strengths.
"""

from typing import TYPE_CHECKING

import numpy as np

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
