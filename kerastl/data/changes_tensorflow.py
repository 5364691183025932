"""Images changed and mixed as tensors: steps of a `tf.data` pipeline.

`changes_numpy.py` has the same for arrays, where there is no TensorFlow.
"""

from typing import TYPE_CHECKING

from kerastl.data.augmentation import LUMA, Augmentation

if TYPE_CHECKING:
    import tensorflow as tf


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
    mean = tf.reduce_mean(colours, axis=1, keepdims=True) @ LUMA[None, :, None]
    gain = bright * contrast
    mixing = saturation * tf.eye(3) + (1 - saturation) * LUMA[:, None] * tf.ones([1, 3])
    colours = colours @ (gain * mixing) + (1 - contrast) * bright * mean
    return tf.reshape(tf.clip_by_value(colours, 0.0, 255.0), shape)


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


#: In the order of `colour_steps`.
_STEPS = (recolour, sharpen, posterize, solarize, autocontrast, equalize)


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


def erase(images: "tf.Tensor", boxes: "tf.Tensor") -> "tf.Tensor":
    """Images with their mean colours in the rectangles of `rectangles`."""
    import tensorflow as tf

    top, left, bottom, right = (boxes[:, i, None] for i in range(4))
    rows = tf.range(images.shape[1], dtype=tf.float32)
    columns = tf.range(images.shape[2], dtype=tf.float32)
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    inside = tall[:, :, None, None] & wide[:, None, :, None]
    return tf.where(inside, tf.reduce_mean(images, (1, 2), keepdims=True), images)


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


def mix_images(images: "tf.Tensor", mixture: dict[str, "tf.Tensor"]) -> "tf.Tensor":
    """A batch mixed with its partners.

    Args:
        images: Float `(b, ...)`; with a box `(b, height, width, channels)`.
        mixture: The rows of `Mixing.draw`.
    """
    import tensorflow as tf

    partners = tf.gather(images, mixture["partner"])
    ones = [1] * (images.shape.rank - 1)
    blend = tf.reshape(mixture["blend"], [-1, *ones])
    mixed = blend * images + (1 - blend) * partners
    if "box" not in mixture:
        return mixed
    top, left, bottom, right = (
        mixture["box"][:, i, None, None, None] for i in range(4)
    )
    y = tf.range(tf.shape(images)[1])[None, :, None, None]
    x = tf.range(tf.shape(images)[2])[None, None, :, None]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return tf.where(inside, partners, mixed)


def mix_labels(
    labels: "tf.Tensor", mixture: dict[str, "tf.Tensor"], num_classes: int
) -> "tf.Tensor":
    """The share of each class in a mixed batch, float32 `(b, num_classes)`.

    Args:
        labels: Class indices `(b,)`, or numbers `(b, num_classes)`.
        mixture: The rows of `Mixing.draw`.
        num_classes: Number of classes.
    """
    import tensorflow as tf

    if labels.shape.rank == 1:
        labels = tf.one_hot(labels, num_classes)
    labels = tf.cast(labels, tf.float32)
    share = mixture["share"][:, None]
    return share * labels + (1 - share) * tf.gather(labels, mixture["partner"])
