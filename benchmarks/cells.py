"""What the tables are made of: sets of images, at sizes, and their test images."""

from typing import Any

import numpy as np
from glyphs import make_glyphs

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.data.shapes import make_shapes

#: Name -> side in pixels, options of `make_shapes` for drawn data, sizes. `plain` is
#: nearest to the flat drawings, `night` and `sketch` shift the pixels.
SOURCES: dict[str, tuple[int, dict[str, Any] | None, tuple[int, ...]]] = {
    "photo": (64, {"style": "photo"}, (60, 300, 1200)),
    "plain": (
        64,
        {"style": "flat", "background": "plain", "texture": "plain", "clutter": 0},
        (60, 300, 1200),
    ),
    "night": (64, {"style": "night"}, (60, 300, 1200)),
    "sketch": (64, {"style": "sketch"}, (60, 300, 1200)),
    "digits": (32, None, (50, 100, 400, 1100)),
    "glyphs": (48, None, (50, 100, 400)),
    "flowers": (96, None, (25, 50, 100, 200, 400, 1600)),
}
TEST_IMAGES = 600


def draw(cell: str, seed: int) -> tuple[ImageSet, ImageSet, int]:
    """Training and test images of a cell, and their side in pixels."""
    name, _, size = cell.rpartition("-")
    side, drawn, _ = SOURCES[name]
    if drawn is not None:
        total = int(size) + TEST_IMAGES
        whole, _ = make_shapes(total, image_size=side, seed=seed, **drawn)
    elif name == "glyphs":
        whole = make_glyphs(int(size) + TEST_IMAGES, image_size=side, seed=seed)
    else:
        whole = kerastl.load_dataset(name, validation=0.0).train
    order = np.random.default_rng(seed).permutation(len(whole))
    turns = np.zeros(len(whole), int)
    for label in np.unique(whole.labels):
        mine = order[whole.labels[order] == label]
        turns[mine] = np.arange(len(mine))
    # The first of each class, then the second: as many of each.
    train = order[np.argsort(turns[order], kind="stable")][: int(size)]
    test = order[~np.isin(order, train)][:TEST_IMAGES]
    return whole.subset(train), whole.subset(test), side


def augmentation(images: ImageSet) -> str:
    return "digits" if images.name == "digits" else "light"
