"""Classification: one class of several, yes or no, or any number of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._tables import Tabular
from kerastl.data.dense import check_not_dense
from kerastl.data.pairs import are_names, name_indices
from kerastl.data.sets import ImageSet
from kerastl.evaluation import metrics
from kerastl.evaluation.grids import most_confident_mistakes, plot_mistakes
from kerastl.evaluation.score_plots import plot_confusion
from kerastl.models.layers import ClassLogits
from kerastl.tasks.classification_report import EvaluationReport, make_report
from kerastl.tasks.task import Task, named_row, register_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: float32 shares may miss a sum of 1 by this much.
_ROUNDING = 1e-3
_MISTAKES = 12


@dataclass(frozen=True, eq=False)
class Predictions(Tabular):
    """Class names and probabilities, one row an image, in the order of the inputs.

    Attributes:
        class_names: Names in the order of the columns.
        probabilities: Float array `(n, classes)`; each row sums to 1, except in the
            multilabel task, where each is a probability of its own.
        paths: File of each image, or None for arrays.
        task: `"multiclass"`, `"binary"` or `"multilabel"`.
        left_out: Files that could not be read, where they were to be skipped.
        texts: The texts, of a model of texts; else None.
        threshold: The second of two classes is given from this probability on; None:
            the more probable one.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str, ...] | None = None
    task: str = "multiclass"
    left_out: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    threshold: float | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.probabilities)

    @property
    def indices(self) -> np.ndarray:
        """Class given `(n,)`; for multilabel 0/1 `(n, classes)`, cut at 0.5."""
        if self.threshold is not None:
            return (self.probabilities[:, 1] >= self.threshold).astype(int)
        return self.probabilities.argmax(axis=-1)

    @property
    def labels(self) -> tuple[Any, ...]:
        """Class name of each image; for multilabel a tuple of names."""
        return tuple(self.class_names[i] for i in self.indices)

    @property
    def confidences(self) -> np.ndarray:
        """Probability of the class given, `(n,)`: the largest, without a threshold."""
        if self.threshold is not None:
            return self.probabilities[np.arange(len(self)), self.indices]
        return self.probabilities.max(axis=-1, initial=0.0)

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The `k` most probable classes of each image, most probable first.

        Args:
            k: Number of classes, at least 1.
        """
        check_integer("k", k, 1)
        order = np.argsort(-self.probabilities, axis=-1, kind="stable")[:, :k]
        return [
            [(self.class_names[i], float(row[i])) for i in chosen]
            for row, chosen in zip(self.probabilities, order, strict=True)
        ]

    def _heading(self) -> str:
        return f"{len(self)} answers"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path` (or `text`), `label`, `probability`."""
        rows = zip(self.labels, self.confidences, strict=True)
        for number, (label, confidence) in enumerate(rows):
            said = {"label": label, "probability": float(confidence)}
            yield {**named_row(self, number), **said}


class LabelPredictions(Predictions):
    """Predictions where an image may have any number of labels."""

    @property
    def indices(self) -> np.ndarray:
        """Zeros and ones `(n, classes)`: the labels of probability 0.5 and more."""
        return (self.probabilities >= 0.5).astype(int)

    @property
    def labels(self) -> tuple[Any, ...]:
        """Names of the labels of each image, as a tuple."""
        names = self.class_names
        return tuple(
            tuple(names[i] for i in np.flatnonzero(row)) for row in self.indices
        )


@dataclass(frozen=True)
class ClassificationTask(Task):
    """What the three kinds of classification share.

    Attributes:
        class_names: Names in the order of the outputs.
    """

    class_names: tuple[str, ...]

    monitor: ClassVar[str] = "val_accuracy"
    has_temperature: ClassVar[bool] = True
    answer_parts: ClassVar[Mapping[str, slice]] = {"probabilities": slice(None)}
    any_size: ClassVar[bool] = True
    output_name: ClassVar[str] = "class_logits"
    model_name: ClassVar[str] = "classifier"
    headline: ClassVar[Mapping[str, str]] = {"accuracy": "share"}
    picture_names: ClassVar[tuple[str, ...]] = ("confusion", "examples")
    fewest_classes: ClassVar[int] = 2
    exact_classes: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        """Check the number of classes."""
        if self.exact_classes not in (None, self.num_classes):
            fail("classes", f"two names for the {self.name} task", self.num_classes)
        if self.num_classes < self.fewest_classes:
            fail("classes", "at least two names", self.num_classes)

    @property
    def num_classes(self) -> int:
        """Number of class names; two for the binary task, whose output is one logit."""
        return len(self.class_names)

    @property
    def units(self) -> int:
        """One logit per class."""
        return self.num_classes

    @property
    def chance_loss(self) -> float:
        """Loss of a head that knows nothing: log 2 per yes-no question."""
        return float(np.log(2))

    def output_layer(self, record: dict[str, Any]) -> ClassLogits:
        """Logits, divided by the temperature of a calibrated model."""
        return ClassLogits(record, name=self.output_name)

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """Binary cross-entropy on logits; it also takes the shares that mixup leaves.

        Training may have the one and validation the other.
        """
        check_number("label_smoothing", label_smoothing, 0.0, below=1.0)
        return AnswerCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy, the logits cut at 0; of a mixed label the larger share counts."""
        return [AnswerAccuracy(name="accuracy", threshold=0.0)]

    def check(self, targets: np.ndarray) -> None:
        """Raise unless these are integers `(n,)` below the number of classes."""
        labels = _numbers(targets)
        if labels.ndim != 1 and labels.shape[1:] != (1,):
            hint = "For one-hot labels pass labels.argmax(axis=-1)."
            fail("labels", "integers of shape (n,)", labels.shape, hint)
        if labels.size == 0:
            return
        if labels.dtype.kind not in "iub" and not np.array_equal(labels, labels // 1):
            fail("labels", "whole numbers", _extremes(labels))
        if labels.min() < 0 or labels.max() >= self.num_classes:
            last = self.num_classes - 1
            expected = f"from 0 to {last} for {self.num_classes} classes"
            from_one = (labels.min(), labels.max()) == (1, self.num_classes)
            hint = "Count classes from 0: subtract 1." if from_one else ""
            fail("labels", expected, _extremes(labels), hint)

    def check_batch(self, targets: np.ndarray) -> None:
        """Raise unless a batch's labels fit: labels, or shares of classes."""
        labels = np.asarray(targets)
        if labels.ndim != 2 or labels.shape[1] != self.num_classes:
            self.check(labels)
            return
        if labels.size and not (labels.min() >= 0 and labels.max() <= 1 + _ROUNDING):
            fail("labels", "shares from 0 to 1", _extremes(labels))
        sums = labels.sum(axis=1)
        if self.single_class and not np.allclose(sums, 1, atol=_ROUNDING):
            worst = float(sums[np.abs(sums - 1).argmax()])
            fail("labels", "rows that sum to 1", f"a row of sum {worst:.4g}")

    def numbered(self, targets: np.ndarray, name: str) -> np.ndarray:
        """Labels as numbers, where they are names of the model's classes."""
        if not are_names(targets):
            return targets
        return name_indices(targets, self.class_names, name, "the model")

    def labelled(self, images: Any, targets: Any) -> ImageSet:
        """Arrays of images and labels as a set."""
        self.check(targets)
        labels = np.asarray(targets)
        labels = labels.reshape(-1) if labels.shape[1:] == (1,) else labels
        whole = labels if labels.dtype.kind in "iu" else labels.astype("int64")
        return ImageSet(images, whole, self.class_names)

    def check_set(self, data: ImageSet, name: str) -> None:
        """Raise unless the set has the model's classes, in the model's order."""
        if data.labels is None:
            fail(name, "labelled", data)
        check_not_dense(data.labels, name, "images with classes")
        self.check_names(data.class_names, name)
        self.check(data.labels)

    def check_names(self, names: tuple[str, ...], name: str) -> None:
        """Raise unless these are the model's class names, in the model's order."""
        if names != self.class_names:
            hint = f"The model's classes are {', '.join(self.class_names[:12])}."
            if set(names) != set(self.class_names):
                fail(name, "of the model's classes", names, hint)
            fail(name, "with classes in the model's order", names, hint)

    def targets(self, data: ImageSet, name: str = "image_set") -> np.ndarray:
        """The labels of a set in the model's order of classes, which may lack some."""
        if data.labels is None or data.target_names or not len(data):
            fail(name, "labelled images", data)
        check_not_dense(data.labels, name, "images with classes")
        names = self.class_names
        unknown = [other for other in data.class_names if other not in names]
        if unknown:
            hint = f"The model's classes are {', '.join(names[:12])}."
            fail(name, "of the model's classes", unknown, hint)
        labels = data.labels
        if data.class_names != names:
            if labels.ndim == 2:
                fail(name, "with the model's classes in order", names)
            places = [names.index(other) for other in data.class_names]
            labels = np.array([places[label] for label in labels], labels.dtype)
        self.check(labels)
        return labels

    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> Predictions:
        """Names with their probabilities."""
        return Predictions(self.class_names, decoded, paths, self.name)

    def report(
        self,
        targets: ArrayLike,
        predictions: Predictions,
        seconds: float | None = None,
    ) -> EvaluationReport:
        """Accuracy, its interval, the classes, calibration and the commonest mistakes.

        The baseline comes from the images scored here: an accuracy near it means that
        nothing was learned, however high it is.
        """
        given = predictions.probabilities, seconds, predictions.threshold
        return make_report(self, targets, *given)

    def further_metrics(
        self, labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """The metrics of the report besides accuracy, by name."""
        found = {
            "macro_f1": metrics.f1(labels, predicted, average="macro"),
            "weighted_f1": metrics.f1(labels, predicted, average="weighted"),
            "log_loss": metrics.log_loss(labels, probabilities),
            "brier": metrics.brier(labels, probabilities),
        }
        if self.single_class:
            found["balanced_accuracy"] = metrics.balanced_accuracy(labels, predicted)
            agreement = metrics.matthews_correlation(labels, predicted)
            found["matthews_correlation"] = agreement
            found["cohen_kappa"] = metrics.cohen_kappa(labels, predicted)
        return found

    def score(self, targets: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
        """Accuracy and mean logarithmic loss."""
        labels = np.asarray(targets).reshape(-1)
        right = decoded.argmax(axis=1) == labels
        return _score(right, decoded[np.arange(len(labels)), labels])

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The accuracy with its interval."""
        low, high = scores["accuracy_interval"]
        return f"accuracy {scores['accuracy']:.1%} ({low:.1%} to {high:.1%})"

    def pictures(
        self,
        targets: np.ndarray,
        predictions: Predictions,
        pixels: Callable[[np.ndarray], np.ndarray] | None,
    ) -> "dict[str, Figure]":
        """The confusion matrix, where there is one, and most confident mistakes."""
        probabilities, found = predictions.probabilities, {}
        names = self.class_names
        if self.single_class:
            matrix = metrics.confusion_matrix(targets, predictions.indices, len(names))
            found["confusion"] = plot_confusion(matrix, names)
        if pixels is None:
            return found
        worst = most_confident_mistakes(targets, probabilities, _MISTAKES)
        # Without a mistake the first images stand in; the panel then says so.
        chosen = worst if len(worst) else np.arange(min(_MISTAKES, len(targets)))
        found["examples"] = plot_mistakes(
            pixels(chosen),
            targets[chosen],
            probabilities[chosen],
            names,
            count=_MISTAKES,
        )
        return found

    @classmethod
    def from_set(cls, data: ImageSet) -> "ClassificationTask":
        """The task of the set's class names."""
        if data.labels is None or data.target_names:
            fail("data", "images with classes", data)
        check_not_dense(data.labels, "data", "images with classes")
        task = cls(data.class_names)
        task.check(data.labels)
        return task


@register_task
@dataclass(frozen=True)
class MulticlassTask(ClassificationTask):
    """One class an image: softmax over as many logits as there are classes.

    Attributes:
        class_names: Names in the order of the outputs, at least two.
    """

    name: ClassVar[str] = "multiclass"
    single_class: ClassVar[bool] = True

    @property
    def chance_loss(self) -> float:
        """Loss of a head that knows nothing: log C."""
        return float(np.log(self.num_classes))

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """Cross-entropy on logits, with class indices or the shares of mixup."""
        check_number("label_smoothing", label_smoothing, 0.0, below=1.0)
        if label_smoothing:
            return SmoothedSparseCrossentropy(self.num_classes, label_smoothing)
        return ClassCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy; of a mixed label the larger share counts."""
        return [ClassAccuracy(name="accuracy")]

    def decode(self, outputs: Any) -> np.ndarray:
        """Probabilities `(n, num_classes)` in float64."""
        logits = np.asarray(outputs, dtype="float64")
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def answers(self, outputs: Any) -> Any:
        """The same in the network."""
        return ops.softmax(outputs)

    def further_metrics(
        self, labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """Areas under the classes' ROC curves too, and of many classes the top five."""
        found = super().further_metrics(labels, probabilities, predicted)
        rows = np.eye(self.num_classes, dtype=int)[labels]
        found["roc_auc"] = metrics.roc_auc(rows, probabilities)
        if self.num_classes > 5:
            found["top_5_accuracy"] = metrics.top_k_accuracy(labels, probabilities, k=5)
        return found

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether each image has one class."""
        other = data.target_names or data.multilabel or data.dense
        return data.labels is not None and not other


@register_task
@dataclass(frozen=True)
class BinaryTask(ClassificationTask):
    """Two classes, and one logit for the second of them.

    Attributes:
        class_names: Two names; the second one is the positive class.
    """

    name: ClassVar[str] = "binary"
    single_class: ClassVar[bool] = True
    exact_classes: ClassVar[int | None] = 2

    @property
    def units(self) -> int:
        """One logit."""
        return 1

    def decode(self, outputs: Any) -> np.ndarray:
        """Probabilities `(n, 2)` in float64."""
        yes = _sigmoid(outputs)
        return np.concatenate([1.0 - yes, yes], axis=-1)

    def answers(self, outputs: Any) -> Any:
        """The same in the network."""
        return ops.sigmoid(ops.concatenate([-outputs, outputs], axis=-1))

    def further_metrics(
        self, labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """The areas under the curves too."""
        found = super().further_metrics(labels, probabilities, predicted)
        return found | _areas(labels, probabilities[:, 1])


@register_task
@dataclass(frozen=True)
class MultilabelTask(ClassificationTask):
    """Any number of labels an image: a yes-no question for each.

    Attributes:
        class_names: Names in the order of the outputs, at least one.
    """

    name: ClassVar[str] = "multilabel"
    fewest_classes: ClassVar[int] = 1

    def check(self, targets: np.ndarray) -> None:
        """Raise unless these are zeros and ones `(n, num_classes)`."""
        labels = _numbers(targets)
        if labels.ndim != 2 or labels.shape[1] != self.num_classes:
            fail("labels", f"of shape (n, {self.num_classes})", labels.shape)
        if not np.isin(labels, (0, 1)).all():
            fail("labels", "zeros and ones", _extremes(labels))

    def decode(self, outputs: Any) -> np.ndarray:
        """Probabilities `(n, num_classes)` in float64, each of its own."""
        return _sigmoid(outputs)

    def answers(self, outputs: Any) -> Any:
        """The same in the network."""
        return ops.sigmoid(outputs)

    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> Predictions:
        """Names with their probabilities."""
        return LabelPredictions(self.class_names, decoded, paths, self.name)

    def score(self, targets: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
        """Share of labels that are right, and their mean logarithmic loss."""
        yes = np.asarray(targets) == 1
        return _score((decoded >= 0.5) == yes, np.where(yes, decoded, 1.0 - decoded))

    def further_metrics(
        self, labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray
    ) -> dict[str, float]:
        """Micro F1 and the share of right labels too, and areas under the curves."""
        found = super().further_metrics(labels, probabilities, predicted)
        found["micro_f1"] = metrics.f1(labels, predicted, average="micro")
        found["label_accuracy"] = metrics.label_accuracy(labels, predicted)
        return found | _areas(labels, probabilities)

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether an image may have several labels."""
        return data.multilabel


def classification_task(name: str, classes: int | Sequence[str]) -> ClassificationTask:
    """The classification task of that name."""
    check_choice("task", name, tuple(_CLASSIFICATIONS))
    return _CLASSIFICATIONS[name](names_of_classes(classes))


_CLASSIFICATIONS = {
    kind.name: kind for kind in (MulticlassTask, BinaryTask, MultilabelTask)
}


def names_of_classes(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Class names as a tuple of distinct strings."""
    if isinstance(classes, str):
        hint = "Pass the class names as a list."
        fail("classes", "a number or a sequence of names", classes, hint, TypeError)
    if not isinstance(classes, Sequence) and not hasattr(classes, "__iter__"):
        check_integer("classes", classes, 1)
        return tuple(str(number) for number in range(classes))
    names = tuple(str(name) for name in classes)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        fail("classes", "distinct names", repeated)
    if not names:
        fail("classes", "at least one name", names)
    return names


def classification_report(
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: tuple[str, ...],
    *,
    task: str = "multiclass",
    seconds: float | None = None,
) -> EvaluationReport:
    """Everything that labels and probabilities say about a classifier.

    Args:
        labels: Class indices `(n,)`; multi-label: 0/1 labels `(n, classes)`.
        probabilities: Float `(n, classes)`; two columns for the binary task.
        class_names: One name per column; classes may be absent from the labels.
        task: `"multiclass"`, `"binary"` (class 1 is the positive one) or
            `"multilabel"` (each probability decides alone, above 0.5).
        seconds: What the predictions took; reported as it is.

    Returns:
        An `EvaluationReport`; `print` shows a table, `.to_dict()` is ready for JSON.

    Raises:
        ValueError: If the arrays, the names and the task do not fit together.

    Example:
        >>> report = classification_report([0, 1], [[0.8, 0.2], [0.6, 0.4]], ("a", "b"))
        >>> report.accuracy, report.baseline, report.most_confused[0].predicted
        (0.5, 0.5, 'a')
    """
    check_choice("task", task, tuple(_CLASSIFICATIONS))
    kind = _CLASSIFICATIONS[task]
    shape = np.shape(probabilities)
    if kind.exact_classes not in (None, *shape[1:2]):
        expected = f"of shape (n, {kind.exact_classes}) for task={task!r}"
        fail("probabilities", expected, shape)
    asked = kind(tuple(map(str, class_names)))
    return make_report(asked, labels, probabilities, seconds)


def _score(right: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """Share that is right, and the loss of the probabilities given to the truth."""
    loss = -np.log(np.maximum(given, np.finfo("float64").tiny)).mean()
    return float(right.mean()), float(loss)


def _sigmoid(logits: Any) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype="float64")))


def _areas(labels: np.ndarray, ranked: np.ndarray) -> dict[str, float]:
    """Areas under the ROC curve and the precision-recall curve."""
    return {
        "roc_auc": metrics.roc_auc(labels, ranked),
        "average_precision": metrics.average_precision(labels, ranked),
    }


def _numbers(labels: Any) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iubf":
        hint = "For names pass their places in the model's class names."
        fail("labels", "numbers", str(labels.dtype), hint, TypeError)
    return labels


def _extremes(labels: np.ndarray) -> str:
    return f"values from {labels.min()} to {labels.max()}" if labels.size else "none"


def _are_shares(y_true: Any, y_pred: Any) -> bool:
    """Whether targets are a share of each class, not class indices."""
    return len(y_true.shape) == 2 and y_true.shape[-1] == y_pred.shape[-1]


def _answers(y_true: Any, y_pred: Any) -> Any:
    """Targets as the logits lie: the second class's share for a single logit."""
    pair = len(y_true.shape) == 2 and y_true.shape[-1] == 2
    return y_true[:, 1:] if pair and y_pred.shape[-1] == 1 else y_true


@keras.saving.register_keras_serializable(package="kerastl")
class ClassCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy on logits with class indices `(n,)`, or with shares `(n, C)`."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        if not _are_shares(y_true, y_pred):
            return super().call(y_true, y_pred)
        return keras.ops.categorical_crossentropy(y_true, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="kerastl")
class AnswerCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy that also takes the shares `(n, 2)` of two classes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        return super().call(_answers(y_true, y_pred), y_pred)


@keras.saving.register_keras_serializable(package="kerastl")
class ClassAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of images whose largest logit is their class, or their largest share."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count one batch."""
        y_true, y_pred = map(keras.ops.convert_to_tensor, (y_true, y_pred))
        if len(y_true.shape) == 2 and y_true.shape[-1] == y_pred.shape[-1] + 1:
            # A teacher's logits stand beside the label.
            y_true = y_true[:, 0]
        if _are_shares(y_true, y_pred):
            y_true = keras.ops.argmax(y_true, axis=-1)
        return super().update_state(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="kerastl")
class AnswerAccuracy(keras.metrics.BinaryAccuracy):
    """Share of yes-no questions answered as their target, rounded, says."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count one batch."""
        y_true, y_pred = map(keras.ops.convert_to_tensor, (y_true, y_pred))
        answers = keras.ops.cast(_answers(y_true, y_pred), "float32") > 0.5
        return super().update_state(answers, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="kerastl")
class SmoothedSparseCrossentropy(keras.losses.Loss):
    """Cross-entropy on logits with label smoothing, on class indices or shares.

    Keras smooths one-hot labels only. The target is `(1 - s) * one_hot + s / C`, with
    the shares in place of one-hot labels where there are such.

    Args:
        num_classes: Number of classes C.
        label_smoothing: Share s spread over all classes, in [0, 1).
        name: Name in the logs.
        reduction: As for every Keras loss.
        dtype: As for every Keras loss.

    Reference:
        Szegedy et al. (2016), Rethinking the Inception Architecture, §7.
    """

    def __init__(
        self,
        num_classes: int,
        label_smoothing: float,
        *,
        name: str = "smoothed_sparse_crossentropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        targets = y_true
        if not _are_shares(y_true, y_pred):
            labels = keras.ops.cast(y_true, "int32")
            if len(labels.shape) == len(y_pred.shape):
                labels = keras.ops.squeeze(labels, axis=-1)
            targets = keras.ops.one_hot(labels, self.num_classes)
        share = self.label_smoothing
        targets = targets * (1.0 - share) + share / self.num_classes
        return keras.ops.categorical_crossentropy(targets, y_pred, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "label_smoothing": self.label_smoothing,
        }
