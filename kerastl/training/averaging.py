"""Averages of the weights of several models: interpolation and soups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.sources import StreamSource
from kerastl.evaluation.plots import plot_interpolation
from kerastl.features.network import source_outputs
from kerastl.features.sources import make_source
from kerastl.models.blocks import check_functional
from kerastl.models.lora import drop_adapters
from kerastl.models.record import (
    find_record,
    forget_settings,
    put_settings,
    read_record,
)
from kerastl.models.weights import weights_digest
from kerastl.tasks.building import load_model
from kerastl.tasks.compiling import compile_model
from kerastl.tasks.task import bind_known
from kerastl.training.batch_statistics import moved_statistics, recompute_batchnorm
from kerastl.training.soup_compatibility import (
    check_merged,
    check_same_shapes,
    check_soup_compatibility,
    effective_weights,
    weight_arrays,
)
from kerastl.training.watching import restore, snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Score:
    """How good weights are on some images.

    Attributes:
        accuracy: Share of right decisions, 0 to 1; of multilabel images each label
            is one.
        loss: Mean cross-entropy, natural logarithm, without penalties.
    """

    accuracy: float
    loss: float

    @property
    def key(self) -> tuple[float, float]:
        """What is compared, higher is better: ties in accuracy go by the loss."""
        return self.accuracy, -self.loss


class Judge:
    """Scores the weights that a classifier has at the time."""

    def __init__(
        self, model: keras.Model, validation: Any, batch_size: int = 64
    ) -> None:
        """See the class."""
        bound = bind_known(model)
        self.task = bound.task
        self.source = make_source(bound, validation, "validation")
        if isinstance(self.source, StreamSource):
            kinds = "an ImageSet or an (images, labels) pair"
            fail("validation", kinds, type(validation).__name__, error=TypeError)
        self.batch_size = batch_size

    def score(self, model: keras.Model) -> Score:
        """The model's score with its present weights."""
        logits = source_outputs(model, self.source, self.batch_size)
        labels = np.asarray(self.source.targets)
        return Score(*self.task.score(labels, self.task.decode(logits)))


@dataclass(frozen=True)
class WeightInterpolation(Tabular):
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

    def _heading(self) -> str:
        return ""

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
    progress: Progress | None = None,
) -> WeightInterpolation:
    """Weights between before and after fine-tuning, the best by validation kept.

    The model is changed, and loses a temperature of `calibrate`. Often the middle is
    better than both ends, most of all on images unlike the training's; those are what
    `validation` should hold then. Nothing is trained: each step is one pass over the
    validation images.

    Args:
        model: The fine-tuned classifier. After LoRA: merged by `kerastl.lora.merge`,
            with as start the weights from before `kerastl.lora.add`.
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
    known = start if isinstance(start, keras.Model) else None
    check_soup_compatibility("start", model, after, before, known)
    judge = Judge(model, validation, batch_size)
    record = read_record(model)
    moved = moved_statistics(model, [before, after]) if statistics is not None else ()

    def enter(alpha: float) -> None:
        """Give the model the weights of one step."""
        restore(model, interpolate_weights(before, after, alpha))
        if moved and 0.0 < alpha < 1.0:
            recompute_batchnorm(model, statistics, layers=moved, batch_size=batch_size)

    scores: list[Score] = []
    try:
        forget_settings(model)
        for alpha in shares:
            enter(alpha)
            scores.append(judge.score(model))
            if progress is not None:
                progress(len(scores), len(shares))
        best = max(range(len(scores)), key=lambda place: scores[place].key)
        enter(shares[best])
    except BaseException:
        restore(model, after)
        put_settings(model, record.temperature, record.operating)
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


@dataclass(frozen=True, eq=False)
class ModelSoup(Tabular):
    """A soup, and what each of its candidates does alone.

    Attributes:
        model: The classifier with the averaged weights, a new one.
        members: Positions of the models in it, in the order they were tried.
        names: File or name of each candidate, in the order given.
        accuracies: Validation accuracy of each candidate alone, 0 to 1.
        losses: Validation loss of each candidate alone.
        accuracy: The soup's; never below the best candidate's.
        loss: The soup's.
    """

    model: keras.Model
    members: tuple[int, ...]
    names: tuple[str, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    accuracy: float
    loss: float

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {
                "model": name,
                "accuracy": accuracy,
                "loss": loss,
                "in_the_soup": place in self.members,
            }
            for place, (name, accuracy, loss) in enumerate(
                zip(self.names, self.accuracies, self.losses, strict=True)
            )
        ]

    def _heading(self) -> str:
        return f"the soup: accuracy {self.accuracy:.1%}, loss {self.loss:.4f}"

    def __str__(self) -> str:
        """One line a candidate, those in the soup marked, then the soup."""
        width = max(len("soup"), *map(len, self.names))
        lines = [f"  {'model'.ljust(width)}  accuracy    loss"]
        columns = zip(self.names, self.accuracies, self.losses, strict=True)
        for place, (name, accuracy, loss) in enumerate(columns):
            mark = "*" if place in self.members else " "
            lines.append(f"{mark} {name.ljust(width)}  {accuracy:8.1%}  {loss:6.4f}")
        soup = f"{self.accuracy:8.1%}  {self.loss:6.4f}"
        lines.append(f"  {'soup'.ljust(width)}  {soup}")
        lines.append(f"* in the soup, {len(self.members)} of {len(self.names)}")
        return "\n".join(lines)


def uniform_soup(
    models: Sequence[keras.Model | str | Path], *, statistics: Any = None
) -> keras.Model:
    """A new model whose weights are the mean of several fine-tuned models' weights.

    They must have been fine-tuned from one network: the mean of others is noise. It can
    be worse than the best of them; `greedy_soup` cannot, on the images it chose by.
    LoRA's adapters count as folded into their kernels, and the soup has none.

    Args:
        models: Functional models of one structure, or `.keras` files of classifiers,
            at least one. Files are read one after the other.
        statistics: Training images from which BatchNorm statistics that differ between
            the models are computed anew; None: they are averaged.

    Returns:
        A model like the first, compiled if it is a classifier.

    Raises:
        ValueError: If the models differ in structure, classes or backbone, or cannot
            have begun from the same weights.
        TypeError: If one is neither a functional model nor a file name.
        FileNotFoundError: If a file does not exist.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog"])
        >>> soup = uniform_soup([model, model])
        >>> np.array_equal(soup.get_weights()[0], model.get_weights()[0])
        True

    Reference:
        Wortsman et al. (2022), Model soups, arXiv:2203.05482, table 2.
    """
    pot = _Pot(models, statistics)
    total = None
    for candidate in pot.candidates:
        total = _add(total, pot.read(candidate))
    pot.pour(total, len(pot.candidates))
    return pot.model


def greedy_soup(
    models: Sequence[keras.Model | str | Path],
    validation: Any,
    *,
    statistics: Any = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> ModelSoup:
    """The mean of those models that do each other no harm on validation images.

    From the best to the worst, a model joins if the accuracy does not fall. The soup's
    accuracy was chosen by these images: report a test set. Ties go by the loss, then by
    the weights, so the order of `models` does not matter.

    Args:
        models: Classifiers of one structure or their `.keras` files, at least one.
        validation: An `ImageSet` or a pair `(images, labels)`.
        statistics: As for `uniform_soup`.
        batch_size: Images at a time.
        progress: Called with (done, total) passes over the validation images.

    Returns:
        The soup, its members, and the accuracy of each candidate: it prints as a
        table.

    Raises:
        ValueError: If the models differ in structure, classes or backbone, or cannot
            have begun from the same weights.
        TypeError: If one is neither a functional model nor a file name.
        FileNotFoundError: If a file does not exist.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog"])
        >>> images = np.zeros((2, 96, 96, 3), "uint8")
        >>> greedy_soup([model], (images, np.array([0, 1]))).accuracy
        0.5

    Reference:
        Wortsman et al. (2022), Model soups, arXiv:2203.05482, recipe 1.
    """
    check_integer("batch_size", batch_size, 1)
    pot = _Pot(models, statistics)
    passes = 2 * len(pot.candidates) - 1
    alone, marks = [], []
    judge = None
    for candidate in pot.candidates:
        values = pot.read(candidate)
        judge = judge or Judge(pot.model, validation, batch_size)
        restore(pot.model, values)
        alone.append(judge.score(pot.model))
        marks.append(weights_digest(values))
        if progress is not None:
            progress(len(alone), passes)
    ranked = sorted(
        range(len(alone)), key=lambda i: (-alone[i].accuracy, alone[i].loss, marks[i])
    )
    members, best = ranked[:1], alone[ranked[0]]
    total = _add(None, pot.read(pot.candidates[ranked[0]]))
    for done, place in enumerate(ranked[1:], start=1):
        trial = _add(total, pot.read(pot.candidates[place]))
        pot.pour(trial, len(members) + 1)
        score = judge.score(pot.model)
        if score.accuracy >= best.accuracy:
            members, best, total = [*members, place], score, trial
        if progress is not None:
            progress(len(alone) + done, passes)
    pot.pour(total, len(members))
    return ModelSoup(
        model=pot.model,
        members=tuple(members),
        names=pot.names,
        accuracies=tuple(score.accuracy for score in alone),
        losses=tuple(score.loss for score in alone),
        accuracy=best.accuracy,
        loss=best.loss,
    )


class _Pot:
    """The candidates, and a copy of the first to pour means of weights into."""

    def __init__(self, models: Any, statistics: Any) -> None:
        single = isinstance(models, (str, Path, keras.Model))
        if single or not isinstance(models, Sequence):
            hint = "One model alone needs no soup."
            kind = type(models).__name__
            fail("models", "a list of models or files", kind, hint, TypeError)
        if not models:
            fail("models", "at least one model", models)
        self.candidates = list(models)
        self.names = tuple(_name(each, i) for i, each in enumerate(models))
        self.statistics = statistics
        self.moved: set[str] = set()
        self.model: keras.Model | None = None
        self.first: list[np.ndarray] = []

    def read(self, candidate: Any) -> list[np.ndarray]:
        """A candidate's weights; raises unless they go with the first one's."""
        model = _open(candidate)
        values = effective_weights(model)
        if self.model is None:
            self.model, self.first = _copy(model), values
            return values
        check_soup_compatibility("models", self.model, self.first, values, model)
        self.moved.update(moved_statistics(self.model, [self.first, values]))
        return values

    def pour(self, total: list[np.ndarray], count: int) -> None:
        """Give the model the mean of `count` candidates from their sum."""
        means = [
            # Whole numbers, such as counters, have no mean: the first one's.
            first if first.dtype.kind in "iub" else (part / count).astype(first.dtype)
            for first, part in zip(self.first, total, strict=True)
        ]
        restore(self.model, means)
        if self.moved and self.statistics is not None and count > 1:
            names = sorted(self.moved)
            recompute_batchnorm(self.model, self.statistics, layers=names)


def _add(
    total: list[np.ndarray] | None, values: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """A new sum in float64."""
    wide = [value.astype("float64") for value in values]
    if total is None:
        return wide
    return [one + other for one, other in zip(total, wide, strict=True)]


def _name(candidate: Any, place: int) -> str:
    if isinstance(candidate, (str, Path)):
        return str(candidate)
    return f"{place + 1} {getattr(candidate, 'name', '')}".strip()


def _open(candidate: Any) -> keras.Model:
    """The model itself, or the one in the file."""
    if isinstance(candidate, (str, Path)):
        return load_model(candidate)
    check_functional("models", candidate)
    return candidate


def _copy(model: keras.Model) -> keras.Model:
    """A model of the same settings, with no adapters, that shares no variable."""
    copy = keras.models.clone_model(model)
    drop_adapters(copy)
    restore(copy, effective_weights(model))
    if find_record(copy) is not None:
        # Each candidate's own fits neither the others nor their mean.
        put_settings(copy, 1.0, None)
        if copy.trainable_variables:
            compile_model(copy)
    return copy
