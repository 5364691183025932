"""A sample of training images that every candidate is measured on."""

from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_integer, fail
from kerastl.datasets.duplicates import digests
from kerastl.datasets.opening import open_splits
from kerastl.datasets.sets import ImageSet, Splits

_NAMED = 5


def training_images(data: ImageSet | Splits | str | Path | Any) -> ImageSet:
    """The training part of whatever says where the images are, one label each.

    Args:
        data: An `ImageSet`, `Splits`, a folder, or a data set's name.

    Raises:
        ValueError: If images have no label or several.
        TypeError: If the data are of no known kind.
    """
    if not isinstance(data, ImageSet):
        data = open_splits(data, validation=0.0).train
    if data.labels is None or data.multilabel:
        fail("data", "images with one label each", data)
    return data


def stratified_sample(
    whole: ImageSet, *, images: int, per_class: int, seed: int
) -> ImageSet:
    """At most `images` of a set, in the proportions of its classes, without copies.

    A copy would let a leave-one-out probe remember instead of recognise.

    Args:
        whole: Images with one label each.
        images: How many at most.
        per_class: Images that each class must have, and keeps.
        seed: Non-negative integer.

    Raises:
        ValueError: If there are too few classes, or too few images of one.
    """
    check_integer("images", images, 1)
    check_integer("seed", seed, 0)
    _check_classes(whole, per_class)
    classes = int((np.bincount(whole.labels) > 0).sum())
    if images < per_class * classes:
        expected = f"at least {per_class * classes}, {per_class} for each class"
        fail("images", expected, images)
    order = np.random.default_rng(seed).permutation(len(whole))
    keys = np.empty(len(whole))
    for label in np.unique(whole.labels):
        mine = order[whole.labels[order] == label]
        # Places spread evenly over 0 to 1: any share of them is the same of each class.
        keys[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        keys[mine[:per_class]] = -1.0
    chosen = np.sort(order[np.argsort(keys[order], kind="stable")[:images]])
    sample = whole.subset(chosen)
    _, first = np.unique(digests(sample), return_index=True)
    sample = sample.subset(np.sort(first))
    _check_classes(sample, per_class)
    return sample


def _check_classes(images: ImageSet, per_class: int) -> None:
    """Raise unless there are two classes, and enough different images of each."""
    counts = {name: count for name, count in images.counts().items() if count}
    if len(counts) < 2:
        fail("data", "images of at least two classes", list(counts))
    short = {name: count for name, count in counts.items() if count < per_class}
    if short:
        shown = dict(list(short.items())[:_NAMED])
        hint = "Add images of that class, or leave it out."
        fail(
            "data", f"at least {per_class} different images of each class", shown, hint
        )
