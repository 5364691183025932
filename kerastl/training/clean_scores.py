"""Training images scored as they are, beside what was measured under noise."""

from typing import Any

import numpy as np

from kerastl.data.batches import only_or_all
from kerastl.data.sources import Source
from kerastl.features.cache import FrozenPart
from kerastl.features.network import as_fed
from kerastl.training.distillation import DistilledCrossentropy

#: Training images that are scored after a phase, at most.
_SAMPLE = 256


def clean_score(
    frozen: FrozenPart, train: Source, *, batch_size: int, views: bool, loss: Any
) -> dict[str, float]:
    """Loss and metrics of some training images without augmentation or dropout.

    Args:
        frozen: What was fitted, compiled, on what.
        train: The images.
        batch_size: Images at a time.
        views: Whether what is cached is of augmented versions.
        loss: Of the user, or of a teacher.

    Returns:
        What `evaluate` finds, and the number of `images`.
    """
    count = min(len(train), _SAMPLE)
    # Whole batches, that nothing is compiled anew for.
    count = count // batch_size * batch_size or count
    places = np.linspace(0, len(train) - 1, count).astype(int)
    if frozen.cached and views:
        inputs = frozen.plain_rows(train, places, batch_size)
    else:
        inputs = as_fed(frozen.part, only_or_all(frozen.train.rows(places)))
    labels = train.targets[places]
    if isinstance(loss, DistilledCrossentropy):
        labels = labels[:, 0]
    given = {"batch_size": batch_size, "verbose": 0, "return_dict": True}
    return {**frozen.part.evaluate(inputs, labels, **given), "images": count}
