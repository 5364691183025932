"""Other views of the same images, for answers averaged over them."""

from collections.abc import Callable

import numpy as np

from kerastl._checks import check_integer, fail
from kerastl.datasets.augmentation import Augmentation, as_augmentation
from kerastl.datasets.changing import change, draw_changes
from kerastl.datasets.stores import PixelStore


def check_views(views: int, augment: str | Augmentation | None, seed: int) -> None:
    """Raise unless so many views can be made.

    Raises:
        ValueError: If there are to be several and nothing makes them differ.
    """
    check_integer("views", views, 1)
    check_integer("seed", seed, 0)
    chance = as_augmentation(augment)
    if views > 1 and (chance is None or not (chance.moves or chance.recolours)):
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
