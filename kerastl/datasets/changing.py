"""What an augmentation does to each image in one epoch, drawn and then applied."""

from typing import TYPE_CHECKING

import numpy as np

from kerastl.datasets.augmentation import (
    Augmentation,
    crop,
    draw,
    move,
    recolour,
    tones,
    transforms,
    windows,
)
from kerastl.datasets.operations import (
    after,
    autocontrast,
    colour_steps,
    draw_operations,
    equalize,
    moving_maps,
    posterize,
    sharpen,
    solarize,
)

if TYPE_CHECKING:
    import tensorflow as tf

#: In the order of `colour_steps`.
_STEPS = (recolour, sharpen, posterize, solarize, autocontrast, equalize)


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
        Where there are such: `geometry` `(n, 4 or 8)`, `tones` `(n, 3)`, and the
        `steps` `(n, k)` of RandAugment with their `strengths` `(n, k, 3)`.
    """
    changes: dict[str, np.ndarray] = {}
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
