"""WiSE-FT: weights between those before fine-tuning and those after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl.evaluation.sweeps import plot_interpolation
from kerastl.models.manifest import forget_temperature, manifest, set_temperature
from kerastl.training.batch_statistics import moved_statistics, recompute_batchnorm
from kerastl.training.judging import Judge, Score
from kerastl.training.kinship import (
    check_merged,
    check_same_layers,
    check_same_records,
    check_same_shapes,
    check_same_start,
    weight_arrays,
)
from kerastl.training.tracking import restore, snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class WeightInterpolation:
    """What `wise_ft` measured on the way from one model to the other.

    Attributes:
        alphas: Shares of the fine-tuned weights, ascending, 0 to 1.
        accuracies: Validation accuracy at each, 0 to 1.
        losses: Validation loss at each.
        best: Position of the one that was kept: the most accurate; of equals the one
            of least loss, then the nearest to the start.
    """

    alphas: tuple[float, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    best: int

    @property
    def alpha(self) -> float:
        """The share of the fine-tuned weights that was kept."""
        return self.alphas[self.best]

    def rows(self) -> list[dict[str, float]]:
        """One dictionary a step: `alpha`, `accuracy`, `loss`."""
        columns = zip(self.alphas, self.accuracies, self.losses, strict=True)
        return [{"alpha": a, "accuracy": b, "loss": c} for a, b, c in columns]

    def plot(self, *, axes: "Sequence[Axes] | Axes | None" = None) -> "Figure":
        """Accuracy and loss against the share.

        Args:
            axes: Two Matplotlib axes to draw on; None makes a new figure.
        """
        return plot_interpolation(
            self.alphas, self.accuracies, self.losses, best=self.best, axes=axes
        )

    def __str__(self) -> str:
        """One line a step, the kept one marked."""
        lines = ["  alpha  accuracy    loss"]
        for place, row in enumerate(self.rows()):
            mark = "*" if place == self.best else " "
            numbers = f"{row['accuracy']:8.1%}  {row['loss']:6.4f}"
            lines.append(f"{mark} {row['alpha']:5.2f}  {numbers}")
        lines.append("* kept; alpha 0: before fine-tuning, 1: after")
        return "\n".join(lines)


def interpolate_weights(start: Any, end: Any, alpha: float) -> list[np.ndarray]:
    """`(1 - alpha) * start + alpha * end`, weight by weight.

    BatchNorm statistics are averaged like the rest. Where they moved in fine-tuning
    they then fit neither end: see `recompute_batchnorm`.

    Args:
        start: A model without adapters, or arrays in the order of `model.weights`.
            Arrays with LoRA's factors in them mix to another model's: merge first.
        end: The same, of the same shapes.
        alpha: 0 to 1; the ends come back bit by bit.

    Returns:
        Arrays for `model.set_weights`, in the types of `end`; whole numbers, which
        have no middle, are those of `end`.

    Raises:
        ValueError: If the shapes differ, a model has adapters or `alpha` is out of
            range.
        TypeError: If an end is neither a model nor a list of arrays.

    Example:
        >>> interpolate_weights([np.zeros(2)], [np.ones(2)], 0.25)
        [array([0.25, 0.25])]

    Reference:
        Wortsman et al. (2022), Robust fine-tuning of zero-shot models,
        arXiv:2109.01903, eq. 1.
    """
    check_number("alpha", alpha, 0.0, 1.0)
    before, after = weight_arrays("start", start), weight_arrays("end", end)
    check_same_shapes("start", before, after)
    pairs = zip(before, after, strict=True)
    return [_between(one, other, float(alpha)) for one, other in pairs]


def _between(one: np.ndarray, other: np.ndarray, alpha: float) -> np.ndarray:
    if alpha == 1.0 or other.dtype.kind in "iub":
        return np.array(other)
    if alpha == 0.0:
        return np.array(one.astype(other.dtype))
    mixed = (1.0 - alpha) * one.astype("float64") + alpha * other.astype("float64")
    return mixed.astype(other.dtype)


def wise_ft(
    model: keras.Model,
    start: Any,
    validation: Any,
    *,
    alphas: Sequence[float] | np.ndarray | None = None,
    statistics: Any = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> WeightInterpolation:
    """Weights between before and after fine-tuning, the best by validation kept.

    The model is changed, and loses a temperature of `calibrate`. Often the middle is
    better than both ends, most of all on images unlike the training's; those are what
    `validation` should hold then. Nothing is trained: each step is one pass over the
    validation images.

    Args:
        model: The fine-tuned classifier. After LoRA: merged by `merge_lora`, with as
            start the weights from before `add_lora`.
        start: The same classifier before fine-tuning: a copy of it or its weights.
            Best with its head trained already: after the first phase of `lp_ft`.
        validation: An `ImageSet` or a pair `(images, labels)`.
        alphas: Shares of the fine-tuned weights to try, 0 to 1; None: 0, 0.1, ... 1.
        statistics: Training images, an `ImageSet` or an array, from which BatchNorm
            statistics that fine-tuning moved are computed anew at each step; None:
            they are averaged. Frozen ones need neither.
        batch_size: Images at a time.
        progress: Called with (done, total) steps.

    Returns:
        Accuracy and loss at each step, and which was kept.

    Raises:
        ValueError: If `start` is of another structure or cannot be this model's
            start, either has adapters, or an argument is out of range.
        TypeError: If an argument is of no known kind.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> start = model.get_weights()
        >>> model.get_layer("head_dense").set_weights(
        ...     [np.ones((256, 2)) * [-1, 1], np.zeros(2)]
        ... )
        >>> images = np.full((2, 96, 96, 3), 255, "uint8")
        >>> wise_ft(model, start, (images, np.array([1, 1])), alphas=[0, 0.5]).alpha
        0.5

    Reference:
        Wortsman et al. (2022), Robust fine-tuning of zero-shot models,
        arXiv:2109.01903, eq. 1.
    """
    check_integer("batch_size", batch_size, 1)
    shares = _check_alphas(alphas)
    check_merged("model", model)
    before, after = weight_arrays("start", start), snapshot(model)
    check_same_shapes("start", before, after)
    if isinstance(start, keras.Model):
        check_same_records("start", start, model)
        check_same_layers("start", start, model)
    check_same_start("start", model, before, after)
    judge = Judge(model, validation, batch_size)
    temperature = manifest(model).temperature
    moved = moved_statistics(model, [before, after]) if statistics is not None else ()

    def enter(alpha: float) -> None:
        """Give the model the weights of one step."""
        restore(model, interpolate_weights(before, after, alpha))
        if moved and 0.0 < alpha < 1.0:
            recompute_batchnorm(model, statistics, layers=moved, batch_size=batch_size)

    scores: list[Score] = []
    try:
        forget_temperature(model)
        for alpha in shares:
            enter(alpha)
            scores.append(judge.score(model))
            if progress is not None:
                progress(len(scores), len(shares))
        best = max(range(len(scores)), key=lambda place: scores[place].key)
        enter(shares[best])
    except BaseException:
        restore(model, after)
        set_temperature(model, temperature)
        raise
    return WeightInterpolation(
        alphas=shares,
        accuracies=tuple(score.accuracy for score in scores),
        losses=tuple(score.loss for score in scores),
        best=best,
    )


def _check_alphas(alphas: Any) -> tuple[float, ...]:
    """The shares, ascending, each once."""
    if alphas is None:
        return tuple(float(number) for number in np.round(np.linspace(0, 1, 11), 1))
    listed = np.asarray(alphas)
    if listed.ndim != 1 or not listed.size or listed.dtype.kind not in "iuf":
        fail("alphas", "a sequence of numbers", alphas)
    for alpha in listed.tolist():
        check_number("alphas", alpha, 0.0, 1.0)
    return tuple(sorted({float(alpha) for alpha in listed}))
