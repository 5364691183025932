"""At which image size a trained model answers best."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, image_size_pair, warn
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.images import PixelStore
from kerastl.data.sets import ImageSet
from kerastl.models.adapting import with_image_size
from kerastl.prediction import pixel_store, scored
from kerastl.tasks.task import BoundModel, bind_known

#: What is tried, as shares of the model's own size.
_SHARES = (1.125, 1.25, 1.5)
#: Sides are multiples of this many pixels, as strides halve them.
_STEP = 8
#: A probability that is said to be impossible.
_LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class SizeChoice(Tabular):
    """A model for images of the size at which it answers best.

    Attributes:
        model: The one that was given where its own size is best, or a copy.
        image_size: `(height, width)` of `model`.
        losses: Each image size that was tried -> mean logarithmic loss on the images.
        report: Scores of `model` on the images: see `evaluate`.
        predictions: What it said of them.
        store: Their pixels at its size.
    """

    model: keras.Model
    image_size: tuple[int, int]
    losses: dict[tuple[int, int], float]
    report: Any
    predictions: Any
    store: PixelStore = field(repr=False)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a size, ready for JSON: `image_size` and `loss`."""
        return [{"image_size": list(k), "loss": v} for k, v in self.losses.items()]

    def _heading(self) -> str:
        return f"chosen: {self.image_size[0]} x {self.image_size[1]} pixels"

    def __str__(self) -> str:
        """One line a size, the chosen one marked."""
        best = self.image_size
        rows = [
            f"{size[0]} x {size[1]} pixels: loss {loss:.4f}" + " *" * (size == best)
            for size, loss in self.losses.items()
        ]
        return "\n".join(rows)


def choose_image_size(
    model: keras.Model,
    images: ImageSet,
    *,
    sizes: Sequence[int | tuple[int, int]] | None = None,
    store: PixelStore | None = None,
    progress: Progress | None = None,
) -> SizeChoice:
    """The size at which a trained classifier answers best, by its loss on your images.

    The weights stay what they are: only the size of the images changes. Networks
    trained on photos often gain some points at a size a fifth to a half larger; others
    lose many, as on letters that fill their frame (`benchmarks/scoring_size.md`). So
    another size must beat the model's own by more than one standard error of the
    difference, image by image: of few images none does. Of those that do the one of
    least loss is taken. A larger size costs time in proportion to its pixels.

    Args:
        model: A trained classifier.
        images: Labelled images that it was not trained on. They choose the size, so
            their score says a little too much: judge by others.
        sizes: Sizes to try besides the model's own. None: 1.125, 1.25 and 1.5 times as
            large, in multiples of 8.
        store: The decoded images at the model's size, where they are at hand.
        progress: Called with (done, total) for each size.

    Returns:
        The model for the chosen size, and the loss at each that was tried.

    Raises:
        ValueError: If the model is no classifier, or the images have other classes.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> pixels = np.zeros((2, 96, 96, 3), "uint8")
        >>> images = kerastl.ImageSet(pixels, np.array([0, 1]), ("dark", "light"))
        >>> choice = kerastl.selection.choose_image_size(model, images, sizes=[120])
        >>> list(choice.losses)
        [(96, 96), (120, 120)]

    Reference:
        Touvron et al. (2019), Fixing the train-test resolution discrepancy,
        arXiv:1906.06423, section 4: the best size at test is above that of training.
    """
    bound = bind_known(model)
    own = tuple(bound.record.image_size)
    if images is None or not len(images):
        fail("images", "labelled images", images)
    if not bound.task.any_size:
        fail("model", "a classifier", f"a model for {bound.task.name}")
    best = first = _scored_at(bound, images, store, progress)
    usual = sizes is None
    for size in [_larger(own, share) for share in _SHARES] if usual else sizes:
        try:
            best = _better(best, first, bound, images, size, progress)
        except ValueError as error:
            if not usual:
                raise
            # A head that flattens, or layers of one size.
            warn(f"No other image size was tried: {error}")
            break
    return best


def _larger(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    return tuple(max(side, round(side * ratio / _STEP) * _STEP) for side in size)


def _scored_at(
    bound: BoundModel,
    images: ImageSet,
    store: PixelStore | None,
    progress: Progress | None,
) -> SizeChoice:
    """Scores at the model's own size."""
    store = store or pixel_store(bound, images, keep=True)
    report, said = scored(bound, images, store=store, progress=progress)
    size = tuple(bound.record.image_size)
    losses = {size: report.metrics["log_loss"]}
    return SizeChoice(bound.model, size, losses, report, said, store)


def _better(
    best: SizeChoice,
    first: SizeChoice,
    bound: BoundModel,
    images: ImageSet,
    size: int | tuple[int, int],
    progress: Progress | None,
) -> SizeChoice:
    """The best so far, or the model at another size that beats this and the first."""
    size = image_size_pair("sizes", size)
    if size in best.losses:
        return best
    model = with_image_size(bound.model, size)
    other = _scored_at(bind_known(model), images, None, progress)
    own, so_far, new = (_losses(each, images) for each in (first, best, other))
    won = new.mean() < so_far.mean() and _is_more_than_chance(own - new)
    return replace(other if won else best, losses={**best.losses, **other.losses})


def _is_more_than_chance(gains: np.ndarray) -> bool:
    """Whether the mean is more than one standard error above zero."""
    if len(gains) < 2:
        return False
    return gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains))


def _losses(scores: SizeChoice, images: ImageSet) -> np.ndarray:
    """The logarithmic loss of each image; of several labels their mean."""
    given = np.clip(scores.predictions.probabilities, _LEAST, 1 - _LEAST)
    if images.labels.ndim == 1:
        return -np.log(given[np.arange(len(given)), images.labels])
    return -np.log(np.where(images.labels == 1, given, 1 - given)).mean(axis=1)
