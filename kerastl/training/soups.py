"""Model soups: one network whose weights are the mean of several fine-tuned ones."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl.models.adapters import drop_adapters
from kerastl.models.compiling import compile_model
from kerastl.models.graph import check_functional
from kerastl.models.manifest import find_manifest, set_temperature
from kerastl.models.saving import load_classifier
from kerastl.training.batch_statistics import moved_statistics, recompute_batchnorm
from kerastl.training.judging import Judge
from kerastl.training.kinship import (
    check_same_layers,
    check_same_records,
    check_same_shapes,
    check_same_start,
    effective_weights,
)
from kerastl.training.tracking import restore


@dataclass(frozen=True, eq=False)
class ModelSoup:
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
    Adapters of `add_lora` count as folded into their kernels, and the soup has none.

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
    progress: Callable[[int, int], None] | None = None,
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
    steps = _Steps(progress, 2 * len(pot.candidates) - 1)
    alone, marks = [], []
    judge = None
    for candidate in pot.candidates:
        values = pot.read(candidate)
        judge = judge or Judge(pot.model, validation, batch_size)
        restore(pot.model, values)
        alone.append(judge.score(pot.model))
        marks.append(_mark(values))
        steps.next()
    ranked = sorted(
        range(len(alone)), key=lambda i: (-alone[i].accuracy, alone[i].loss, marks[i])
    )
    members, best = ranked[:1], alone[ranked[0]]
    total = _add(None, pot.read(pot.candidates[ranked[0]]))
    for place in ranked[1:]:
        trial = _add(total, pot.read(pot.candidates[place]))
        pot.pour(trial, len(members) + 1)
        score = judge.score(pot.model)
        if score.accuracy >= best.accuracy:
            members, best, total = [*members, place], score, trial
        steps.next()
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
        check_same_records("models", self.model, model)
        check_same_shapes("models", self.first, values)
        check_same_layers("models", self.model, model)
        check_same_start("models", self.model, self.first, values)
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


class _Steps:
    """Counts passes for a progress function that may be None."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def next(self) -> None:
        """One more."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


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
        return load_classifier(candidate)
    check_functional("models", candidate)
    return candidate


def _copy(model: keras.Model) -> keras.Model:
    """A model of the same settings, with no adapters, that shares no variable."""
    copy = keras.models.clone_model(model)
    drop_adapters(copy)
    restore(copy, effective_weights(model))
    if find_manifest(copy) is not None:
        # Each candidate's own fits neither the others nor their mean.
        set_temperature(copy, 1.0)
        if copy.trainable_variables:
            compile_model(copy)
    return copy


def _mark(values: Sequence[np.ndarray]) -> str:
    """Stands for the weights, so that ties do not hang on the order given."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
