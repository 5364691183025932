"""Images changed and mixed as arrays, where TensorFlow is not needed.

`changes_tensorflow.py` has the same as steps of a `tf.data` pipeline. Both start from
the numbers of `draw_changes` and agree to rounding.
"""

from collections.abc import Callable

import numpy as np

from kerastl.data.augmentation import (
    LUMA,
    Augmentation,
    as_augmentation,
    draw_changes,
)
from kerastl.data.images import PixelStore


def _folded(places: np.ndarray, length: int, fill: str) -> np.ndarray:
    """Positions beyond an image's border as those within that stand for them."""
    if fill == "reflect":
        # ... c b a | a b c | c b a ...
        places = np.mod(places, np.float32(2 * length))
        places = np.where(places >= length, 2 * length - 1 - places, places)
    return np.clip(places, 0, length - 1)


def _between(places: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    """The pixels before and behind each position, and how near it is to the latter."""
    before = np.floor(places).astype(np.intp)
    return before, np.minimum(before + 1, length - 1), places - before


def move(
    images: np.ndarray, maps: np.ndarray, *, size: tuple[int, int], fill: str
) -> np.ndarray:
    """Images under affine maps, bilinear, float32."""
    height, width, channels = images.shape[1:]
    x = np.arange(size[1], dtype=np.float32)
    y = np.arange(size[0], dtype=np.float32)[:, None]
    made = np.empty((len(images), *size, channels), np.float32)
    for image, (xx, xy, to_x, yx, yy, to_y, *_), result in zip(
        images, maps, made, strict=True
    ):
        pixels = image.reshape(-1, channels).astype(np.float32)
        left, right, near_x = _between(
            _folded(xx * x + xy * y + to_x, width, fill), width
        )
        top, bottom, near_y = _between(
            _folded(yx * x + yy * y + to_y, height, fill), height
        )
        near_x, near_y = near_x[..., None], near_y[..., None]
        upper, lower = (
            (1 - near_x) * pixels.take(row * width + left, axis=0)
            + near_x * pixels.take(row * width + right, axis=0)
            for row in (top, bottom)
        )
        result[:] = (1 - near_y) * upper + near_y * lower
    return made


def crop(images: np.ndarray, boxes: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Upright windows of images, bilinear, float32: the fast case of `move`."""
    made = np.empty((len(images), *size, images.shape[-1]), np.float32)
    for image, box, result in zip(images, boxes, made, strict=True):
        (top, bottom, near_y), (left, right, near_x) = (
            _between(_steps(box[i], box[i + 2], length, count), length)
            for i, (length, count) in enumerate(zip(image.shape[:2], size, strict=True))
        )
        # Only the rows that are seen become numbers with a fraction.
        first = top[0]
        rows = image[first : bottom[-1] + 1].astype(np.float32)
        upper, lower = rows[top - first], rows[bottom - first]
        upper += near_y[:, None, None] * (lower - upper)
        upper.take(left, axis=1, out=result, mode="clip")
        result += near_x[:, None] * (upper.take(right, axis=1) - result)
    return made


def _steps(start: float, stop: float, length: int, count: int) -> np.ndarray:
    """So many positions from edge to edge of a window, which is 0 to 1, in pixels."""
    far = np.float32(length - 1)
    if count == 1:
        return np.float32([(start + stop) / 2 * far])
    step = (stop - start) * far / np.float32(count - 1)
    places = start * far + np.arange(count, dtype=np.float32) * step
    return np.clip(places, 0, far)


def recolour(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Images with other brightness, contrast and saturation, cut to 0-255.

    The three steps are one linear map of the colours plus a grey level:
    `s c b x + (1 - s) c b grey(x) + (1 - c) b mean(grey)`.
    """
    colours = images.reshape(len(images), -1, 3)
    bright, contrast, saturation = (factors[:, i, None, None] for i in range(3))
    mean = colours.mean(axis=1, keepdims=True) @ LUMA[:, None]
    mixing = saturation * np.eye(3, dtype=np.float32)
    mixing = mixing + (1 - saturation) * LUMA[:, None]
    made = colours @ (bright * contrast * mixing)
    made += (1 - contrast) * bright * mean
    return np.clip(made, 0, 255, out=made).reshape(images.shape)


def sharpen(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images between smooth (0) and sharper than they were (above 1)."""
    height, width = images.shape[1:3]
    inner = images[:, 1 : height - 1, 1 : width - 1]
    near = sum(
        images[:, y : height - 2 + y, x : width - 2 + x]
        for y in range(3)
        for x in range(3)
    )
    smooth = images.copy()
    smooth[:, 1 : height - 1, 1 : width - 1] += (near + 4 * inner) / 13 - inner
    factor = strengths[:, :1, None, None]
    return np.clip(smooth + factor * (images - smooth), 0, 255)


def posterize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images with fewer grey levels: the lowest of each run of them."""
    run = strengths[:, :1, None, None]
    return np.floor(np.rint(images) / run) * run


def solarize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images whose bright pixels, from a limit on, are inverted."""
    return np.where(images < strengths[:, :1, None, None], images, 255 - images)


def autocontrast(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images whose channels each span 0-255."""
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    flat = span < 1
    wide = (images - low) * (255 / np.where(flat, np.float32(1), span))
    return np.where(flat, images, np.minimum(wide, 255))


def equalize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images whose grey levels are about equally frequent in each channel."""
    made = np.empty_like(images)
    levels = np.rint(images).astype(np.intp)
    for place in np.ndindex(len(images), images.shape[-1]):
        channel = levels[place[0], ..., place[1]]
        counts = np.bincount(channel.ravel(), minlength=256)
        # So that the brightest level becomes 255.
        step = (channel.size - counts[channel.max()]) // 255
        table = np.arange(256)
        if step:
            below = np.cumsum(counts) - counts
            table = np.minimum((below + step // 2) // step, 255)
        made[place[0], ..., place[1]] = table[channel]
    return made


#: In the order of `colour_steps`.
_STEPS = (recolour, sharpen, posterize, solarize, autocontrast, equalize)


def operate(images: np.ndarray, steps: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Images after the operations drawn for each, one after the other.

    Each operation sees the images that it was drawn for and no others.

    Args:
        images: Float `(b, height, width, 3)`, 0-255.
        steps: Integers `(b, k)` below 6, as from `colour_steps`.
        strengths: Floats `(b, k, 3)`.
    """
    images = images.copy()
    for slot in range(steps.shape[1]):
        for number in np.unique(steps[:, slot]):
            mine = steps[:, slot] == number
            images[mine] = _STEPS[number](images[mine], strengths[mine, slot])
    return images


def erase(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Images with their mean colours in the rectangles of `rectangles`."""
    images = images.copy()
    for image, box in zip(images, boxes.astype(int), strict=True):
        top, left, bottom, right = box
        image[top:bottom, left:right] = image.mean(axis=(0, 1))
    return images


def change(
    images: np.ndarray,
    changes: dict[str, np.ndarray],
    chance: Augmentation,
    size: tuple[int, int],
) -> np.ndarray:
    """A batch of images 0-255 with its rows of `draw_changes` applied, float32."""
    if chance.moves and chance.is_window:
        images = crop(images, changes["geometry"], size=size)
    elif chance.moves:
        images = move(images, changes["geometry"], size=size, fill=chance.fill)
    images = images.astype(np.float32, copy=False)
    if chance.recolours:
        images = recolour(images, changes["tones"])
    if chance.operations:
        images = operate(images, changes["steps"], changes["strengths"])
    if chance.erasing:
        images = erase(images, changes["erased"])
    return images


def mix_images(images: np.ndarray, mixture: dict[str, np.ndarray]) -> np.ndarray:
    """A batch mixed with its partners.

    Args:
        images: Float `(b, ...)`; with a box `(b, height, width, channels)`.
        mixture: The rows of `Mixing.draw`.
    """
    partners = images[mixture["partner"]]
    blend = mixture["blend"].reshape(-1, *[1] * (images.ndim - 1))
    mixed = blend * images + (1 - blend) * partners
    for i, (top, left, bottom, right) in enumerate(mixture.get("box", ())):
        mixed[i, top:bottom, left:right] = partners[i, top:bottom, left:right]
    return mixed


def mix_labels(
    labels: np.ndarray, mixture: dict[str, np.ndarray], num_classes: int
) -> np.ndarray:
    """The share of each class in a mixed batch, float32 `(b, num_classes)`.

    Args:
        labels: Class indices `(b,)`, or numbers `(b, num_classes)`.
        mixture: The rows of `Mixing.draw`.
        num_classes: Number of classes.
    """
    if labels.ndim == 1:
        labels = np.arange(num_classes) == labels[:, None]
    labels = labels.astype(np.float32)
    share = mixture["share"][:, None]
    return share * labels + (1 - share) * labels[mixture["partner"]]


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
        mine = {name: row[indices] for name, row in changes.items()}
        return change(store.rows(indices), mine, chance, size)

    return rows
