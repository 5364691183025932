"""Regression: one or several numbers for each example, in the user's own units."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from kerastl._checks import fail, passed_on
from kerastl._tables import Tabular
from kerastl.data.sets import ImageSet
from kerastl.evaluation.figures import BLUE, GREY, describe, panels, plain_text
from kerastl.models.layers import TaskOutputs
from kerastl.tasks.task import Task, named_row, register_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESAMPLES = 1000
_SCORES = ("mse", "mae", "r2")


@dataclass(frozen=True, eq=False)
class NumberPredictions(Tabular):
    """Predicted numbers, one row an image, in the order of the inputs.

    Attributes:
        target_names: Names in the order of the columns.
        values: Float array `(n, targets)`, in the units of the training targets.
        paths: File of each image, or None for arrays.
        unit: What the numbers are counted in; may be empty.
        left_out: Files that could not be read, where they were to be skipped.
        texts: The texts, of a model of texts; else None.
    """

    target_names: tuple[str, ...]
    values: np.ndarray
    paths: tuple[str, ...] | None = None
    unit: str = ""
    left_out: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.values)

    def _heading(self) -> str:
        return f"{len(self)} answers"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path` (or `text`), and each number by its name."""
        for number, row in enumerate(self.values.tolist()):
            numbers = dict(zip(self.target_names, row, strict=True))
            yield {**named_row(self, number), **numbers}


@dataclass(frozen=True)
class TargetScores:
    """How well one number is predicted.

    Attributes:
        name: Its name.
        mse: Mean squared error, in squared units.
        mae: Mean absolute error, in units.
        r2: Share of the variance that is explained, at most 1; below 0: worse than
            the mean of these examples. None where they are all equal.
        mse_interval: Its 95 % limits, by the percentile bootstrap over examples.
        mae_interval: The same of `mae`.
        r2_interval: The same of `r2`.
        baseline: `mse` of always giving the training targets' mean.
    """

    name: str
    mse: float
    mae: float
    r2: float | None
    mse_interval: tuple[float, float]
    mae_interval: tuple[float, float]
    r2_interval: tuple[float, float] | None
    baseline: float


@dataclass(frozen=True)
class RegressionReport(Tabular):
    """A regressor's scores on one set of examples.

    Attributes:
        images: Number of images scored.
        per_target: One row a number.
        unit: What the numbers are counted in; may be empty.
        seconds: What the predictions took, or None.
    """

    images: int
    per_target: tuple[TargetScores, ...]
    unit: str = ""
    seconds: float | None = None

    @property
    def mse(self) -> float:
        """Mean squared error, averaged over the targets."""
        return float(np.mean([row.mse for row in self.per_target]))

    @property
    def mae(self) -> float:
        """Mean absolute error, averaged over the targets."""
        return float(np.mean([row.mae for row in self.per_target]))

    @property
    def r2(self) -> float | None:
        """Explained share of the variance, averaged over the targets."""
        known = [row.r2 for row in self.per_target]
        return None if None in known else float(np.mean(known))

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        return {
            "task": RegressionTask.name,
            "images": self.images,
            **{name: getattr(self, name) for name in _SCORES},
            "unit": self.unit,
            "per_target": [dict(vars(row)) for row in self.per_target],
            "seconds": self.seconds,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [dict(vars(row)) for row in self.per_target]

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        took = "" if self.seconds is None else f", {self.seconds:.2f} s"
        lines = [f"{self.images} images, regression{took}"]
        for row in self.per_target:
            unit = f" ({self.unit})" if self.unit else ""
            lines += ["", f"{row.name}{unit}"]
            for name in _SCORES:
                value, limits = getattr(row, name), getattr(row, f"{name}_interval")
                shown, between = "-", ""
                if value is not None:
                    shown = f"{value:.4g}"
                    between = f"  (95 % interval {limits[0]:.4g} to {limits[1]:.4g})"
                lines.append(f"  {name:<24}{shown:>10}{between}")
            lines.append(f"  {'mse of the mean':<24}{row.baseline:>10.4g}")
        return "\n".join(lines)


@register_task
@dataclass(frozen=True)
class RegressionTask(Task):
    """One or several numbers for each example.

    The head works in standard units, and the last layer brings its outputs back to
    the user's: a new head, which is zeros, predicts the mean, and its loss is the
    variance of the training targets in standard units, 1.

    Attributes:
        target_names: One name for each number.
        mean: Of the training targets, one for each number.
        scale: Their standard deviation, above 0.
        unit: What the numbers are counted in, for reports; may be empty.

    Raises:
        ValueError: If the lengths differ, or a scale is not above 0.

    Example:
        >>> from kerastl.tasks import RegressionTask
        >>> task = RegressionTask.from_targets([10.0, 20.0, 30.0], ["age"], "years")
        >>> task.mean, round(task.scale[0], 3), task.chance_loss
        ((20.0,), 8.165, 1.0)
    """

    target_names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    unit: str = ""

    name: ClassVar[str] = "regression"
    output_name: ClassVar[str] = "numbers"
    model_name: ClassVar[str] = "regressor"
    headline: ClassVar[Mapping[str, str]] = {"mae": "number", "r2": "number"}
    picture_names: ClassVar[tuple[str, ...]] = ("scatter",)

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        if not len(self.target_names) == len(self.mean) == len(self.scale) > 0:
            received = (len(self.target_names), len(self.mean), len(self.scale))
            fail("target_names", "as many as means and scales, one or more", received)
        if not all(np.isfinite(value) and value > 0 for value in self.scale):
            fail("scale", "above 0 for each number", self.scale)

    @classmethod
    def from_targets(
        cls, targets: ArrayLike, names: Sequence[str] | None = None, unit: str = ""
    ) -> "RegressionTask":
        """The task whose scale is that of some training targets.

        Args:
            targets: Numbers `(n,)` or `(n, targets)`.
            names: One for each number; None: `"0"`, `"1"` and so on.
            unit: For reports.

        Returns:
            A task for `build_model` or `build_regressor`.

        Raises:
            ValueError: If the targets are empty, constant, or not finite.
        """
        numbers = _columns(targets)
        if names is None:
            names = [str(column) for column in range(numbers.shape[1])]
        names = (names,) if isinstance(names, str) else tuple(names)
        if len(names) != numbers.shape[1]:
            fail("names", f"{numbers.shape[1]} names, one a column", names)
        if not len(numbers):
            fail("targets", "at least two numbers", numbers.shape)
        scale = numbers.std(axis=0)
        constant = [
            name
            # Equal numbers may have a deviation of one rounding error.
            for name, spread in zip(names, np.ptp(numbers, axis=0), strict=True)
            if not spread
        ]
        if constant:
            hint = "There is nothing to learn; are these the right columns?"
            fail("targets", "numbers that differ", f"constant {constant}", hint)
        mean = numbers.mean(axis=0)
        return cls(names, tuple(mean.tolist()), tuple(scale.tolist()), unit)

    @property
    def units(self) -> int:
        """One output a number."""
        return len(self.target_names)

    @property
    def chance_loss(self) -> float:
        """The training targets' variance, in standard units."""
        return 1.0

    def output_layer(self, record: dict[str, Any]) -> "StandardUnits":
        """From standard units to the user's."""
        return StandardUnits(record, name=self.output_name)

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """The squared error in standard units."""
        if label_smoothing:
            fail("label_smoothing", "0 for numbers", label_smoothing)
        return StandardSquaredError(self.scale)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Mean absolute and squared error in the user's units, and R²."""
        return [
            keras.metrics.MeanAbsoluteError(name="mae"),
            keras.metrics.MeanSquaredError(name="mse"),
            ExplainedVariance(name="r2"),
        ]

    def check(self, targets: np.ndarray) -> None:
        """Raise unless these are finite numbers, a column for each target."""
        numbers = _columns(targets)
        if numbers.shape[1] != self.units:
            listed = ", ".join(self.target_names)
            expected = f"of shape (n, {self.units}), for {listed}"
            fail("targets", expected, np.shape(targets))

    def targets(self, data: ImageSet, name: str = "image_set") -> np.ndarray:
        """The numbers of a set, in the model's order."""
        if data.labels is None or not len(data):
            fail(name, "images with numbers", data)
        absent = [own for own in self.target_names if own not in data.target_names]
        if absent:
            hint = f"The model predicts {', '.join(self.target_names)}."
            fail(name, "of images with the model's numbers", data, hint)
        order = [data.target_names.index(own) for own in self.target_names]
        return data.labels[:, order]

    def check_set(self, data: ImageSet, name: str) -> None:
        """Raise unless the set has the model's numbers, in the model's order."""
        if data.target_names != self.target_names:
            hint = f"The model predicts {', '.join(self.target_names)}."
            fail(name, "of images with the model's numbers in order", data, hint)

    def decode(self, outputs: Any) -> np.ndarray:
        """The numbers in float64."""
        return np.asarray(outputs, "float64")

    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> NumberPredictions:
        """The numbers with their names."""
        return NumberPredictions(self.target_names, decoded, paths, self.unit)

    def report(
        self,
        targets: np.ndarray,
        predictions: NumberPredictions,
        seconds: float | None = None,
    ) -> RegressionReport:
        """Errors and R² of each number, with bootstrap intervals."""
        self.check(targets)
        truth = _columns(targets)
        rows = tuple(
            _score(name, truth[:, column], predictions.values[:, column], mean)
            for column, (name, mean) in enumerate(
                zip(self.target_names, self.mean, strict=True)
            )
        )
        return RegressionReport(len(truth), rows, self.unit, seconds)

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The mean absolute error of each number, with its interval."""
        unit = f" {scores['unit']}" if scores["unit"] else ""
        return ", ".join(
            f"{row['name']} off by {row['mae']:.4g}{unit} "
            f"({row['mae_interval'][0]:.4g} to {row['mae_interval'][1]:.4g})"
            for row in scores["per_target"]
        )

    def pictures(
        self,
        targets: np.ndarray,
        predictions: NumberPredictions,
        pixels: Callable[[np.ndarray], np.ndarray],
    ) -> "dict[str, Figure]":
        """What was predicted against what is true, one panel a number."""
        figure, axes = panels(None, self.units, (3.6 * self.units, 3.6))
        unit = f" ({self.unit})" if self.unit else ""
        for column, (axis, name) in enumerate(
            zip(axes, self.target_names, strict=True)
        ):
            x, y = targets[:, column], predictions.values[:, column]
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axis.plot(ends, ends, color=GREY, linewidth=1)
            axis.plot(x, y, "o", color=BLUE, markersize=4, alpha=0.6)
            axis.set_xlabel(plain_text(f"true {name}{unit}"))
            axis.set_ylabel("predicted")
            off = np.abs(x - y).mean()
            sentence = f"Predicted against true {name}, {len(x)} images"
            describe(axis, f"{sentence}; off by {off:.4g}{unit} on average.")
        return {"scatter": figure}

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether the images have numbers."""
        return bool(data.target_names) and data.labels is not None

    @classmethod
    def from_set(cls, data: ImageSet) -> "RegressionTask":
        """The task of the set's numbers."""
        if not cls.fits(data):
            fail("data", "images with numbers", data)
        return cls.from_targets(data.labels, data.target_names)


def build_regressor(
    backbone: str | keras.Model,
    targets: ArrayLike | ImageSet | RegressionTask,
    *,
    names: Sequence[str] | None = None,
    unit: str = "",
    pooling: str = "avg",
    hidden: Sequence[int] = (),
    dropout: float = 0.2,
    l2: float = 0.0,
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    preprocessing: str | keras.layers.Layer | None = None,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled regressor: frozen backbone, pooling and a head that predicts numbers.

    It takes RGB 0-255 pixels and returns numbers in the units of the targets, whose
    mean and standard deviation lie inside the model: never scale the targets yourself.
    The new head predicts their mean.

    Args:
        backbone: As for `build_classifier`.
        targets: The training targets, `(n,)` or `(n, targets)`; an `ImageSet` with
            numbers; or a `kerastl.tasks.RegressionTask`, which brings its own mean,
            scale, names and unit.
        names: One for each number of an array; None: `"0"`, `"1"` and so on. A set
            has its own.
        unit: What the numbers are counted in, for reports.
        pooling: As for `build_classifier`, like all that follows.
        hidden: Units of hidden layers.
        dropout: Share of the features dropped.
        l2: Penalty on the head's kernels.
        image_size: Pixels.
        resize: How images of another size are brought to it.
        weights: For a backbone given by name.
        alpha: Width multiplier.
        preprocessing: For a foreign model.
        precision: Keras's dtype policy.
        seed: For everything random.
        learning_rate: For a plain `model.fit`.

    Returns:
        A compiled functional `keras.Model`, `(n, height, width, 3)` to float32
        `(n, targets)`.

    Raises:
        ValueError: If the targets are constant or not finite, or an argument does not
            fit the backbone.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_regressor(backbone, [20.0, 30.0, 70.0], names=["age"])
        >>> image = np.full((50, 80, 3), 128, "uint8")
        >>> kerastl.predict(model, image).values.tolist()
        [[40.0]]
    """
    # Imported here: this module is read by `import kerastl`, to know saved models.
    from kerastl.tasks.building import build_model

    task = targets
    if isinstance(targets, ImageSet):
        found = RegressionTask.from_set(targets)
        names, targets = names or found.target_names, targets.labels
    if not isinstance(task, RegressionTask):
        task = RegressionTask.from_targets(targets, names, unit)
    return build_model(backbone, task, **passed_on(locals(), build_model))


@keras.saving.register_keras_serializable(package="kerastl")
class StandardUnits(TaskOutputs):
    """A regressor's outputs: `scale * head + mean`, by the task in the record."""

    def call(self, inputs: Any) -> Any:
        """Numbers in the user's units, float32."""
        task = self.record["task"]
        mean, scale = (
            ops.convert_to_tensor(task[key], "float32") for key in ("mean", "scale")
        )
        return super().call(inputs) * scale + mean


@keras.saving.register_keras_serializable(package="kerastl")
class StandardSquaredError(keras.losses.Loss):
    """Mean over the targets of the squared error, each divided by its variance.

    Args:
        scale: Standard deviation of each target.
        name: Name in the logs.
        reduction: As for every Keras loss.
        dtype: As for every Keras loss.
    """

    def __init__(
        self,
        scale: Sequence[float],
        *,
        name: str = "standard_squared_error",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.scale = tuple(scale)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        missed = _like(y_true, y_pred) - y_pred
        scale = ops.convert_to_tensor(self.scale, y_pred.dtype)
        return ops.mean(ops.square(missed / scale), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        return {**super().get_config(), "scale": list(self.scale)}


@keras.saving.register_keras_serializable(package="kerastl")
class ExplainedVariance(keras.metrics.R2Score):
    """R², averaged over the targets; a single target may come as `(n,)`."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count one batch."""
        y_pred = ops.convert_to_tensor(y_pred)
        return super().update_state(_like(y_true, y_pred), y_pred, sample_weight)


def _like(y_true: Any, y_pred: Any) -> Any:
    """Targets `(n,)` or `(n, targets)` in the outputs' shape and type."""
    return ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))


def _columns(targets: Any) -> np.ndarray:
    """Numbers as float64 `(n, targets)`."""
    numbers = np.asarray(targets)
    if numbers.dtype.kind not in "uif":
        fail("targets", "numbers", str(numbers.dtype), error=TypeError)
    if numbers.ndim not in (1, 2):
        fail("targets", "of shape (n,) or (n, targets)", numbers.shape)
    if not np.isfinite(numbers).all():
        count = int((~np.isfinite(numbers)).sum())
        fail("targets", "finite numbers", f"{count} that are nan or infinite")
    columns = numbers[:, None] if numbers.ndim == 1 else numbers
    return columns.astype("float64")


def _score(
    name: str, truth: np.ndarray, values: np.ndarray, mean: float
) -> TargetScores:
    """One number's scores, with the bootstrap's limits."""
    random = np.random.default_rng(0)
    drawn = np.array(
        [
            _errors(truth[chosen], values[chosen])
            for chosen in random.integers(len(truth), size=(_RESAMPLES, len(truth)))
        ]
    )
    mse, mae, r2 = _errors(truth, values)
    # A resample of equal targets has no R²; it is left out.
    limits = [
        tuple(np.quantile(column[np.isfinite(column)], (0.025, 0.975)).tolist())
        if np.isfinite(column).any()
        else None
        for column in drawn.T
    ]
    known = bool(np.isfinite(r2))
    baseline = float(np.square(truth - mean).mean())
    return TargetScores(name, mse, mae, r2 if known else None, *limits, baseline)


def _errors(truth: np.ndarray, values: np.ndarray) -> list[float]:
    """Mean squared error, mean absolute error, and R² (nan of equal targets)."""
    missed = truth - values
    mse = float(np.square(missed).mean())
    # Equal numbers may have a variance of one rounding error.
    spread = float(truth.var()) if np.ptp(truth) else 0.0
    r2 = 1.0 - mse / spread if spread else float("nan")
    return [mse, float(np.abs(missed).mean()), r2]
