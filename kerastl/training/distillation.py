"""What a student learns from a teacher's answers, beside the labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl._checks import check_number, fail
from kerastl.data.sources import ArraySource, ImageSource, Source, TextSource
from kerastl.features.cache import FeatureCache
from kerastl.features.sources import make_source
from kerastl.models.weights import is_model_file
from kerastl.tasks.building import load_model
from kerastl.tasks.task import BoundModel, bind_known


@dataclass(frozen=True, eq=False)
class TaughtSource(ImageSource):
    """Images whose targets are the label and a teacher's logits, side by side."""

    taught: np.ndarray | None = None

    @property
    def targets(self) -> np.ndarray:
        """Float32 `(n, 1 + classes)`."""
        return self.taught


@keras.saving.register_keras_serializable(package="kerastl")
class DistilledCrossentropy(keras.losses.Loss):
    """`alpha CE(label) + (1 - alpha) T² KL(teacher || student)`, softened by T.

    Targets without a teacher's logits beside them, as validation data have, cost the
    first alone, whole.

    Args:
        base: The loss of labels.
        alpha: Share of the labels, 0 to 1.
        temperature: T, above 0: what both logits are divided by.
        name: Name in the logs.
        reduction: As for every Keras loss.
        dtype: As for every Keras loss.

    Reference:
        Hinton, Vinyals & Dean (2015), Distilling the Knowledge in a Neural Network,
        arXiv:1503.02531, §2, whose T² keeps both parts of a size.
    """

    def __init__(
        self,
        base: keras.losses.Loss,
        alpha: float,
        temperature: float,
        *,
        name: str = "distilled_crossentropy",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.base = base
        self.alpha = alpha
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per example."""
        if len(y_true.shape) < 2 or y_true.shape[-1] != y_pred.shape[-1] + 1:
            return self.base.call(y_true, y_pred)
        labelled = self.base.call(y_true[:, :1], y_pred)
        soft = self.temperature
        taught = ops.softmax(y_true[:, 1:] / soft)
        known = ops.log_softmax(y_true[:, 1:] / soft) - ops.log_softmax(y_pred / soft)
        apart = ops.sum(taught * known, axis=-1)
        return self.alpha * labelled + (1 - self.alpha) * soft**2 * apart

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        return {
            **super().get_config(),
            "base": keras.saving.serialize_keras_object(self.base),
            "alpha": self.alpha,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DistilledCrossentropy":
        """The loss that `get_config` describes."""
        base = keras.saving.deserialize_keras_object(config["base"])
        return cls(**{**config, "base": base})


def check_teacher(teacher: Any, class_weight: Any) -> None:
    """Raise for a teacher that can be none, whatever the model and data are."""
    if teacher is None:
        return
    if isinstance(teacher, (str, Path)):
        if not is_model_file(teacher):
            hint = "Pass what kerastl.save_model or `kerastl train` wrote."
            fail("teacher", "a classifier or its .keras file", str(teacher), hint)
        if not Path(teacher).expanduser().is_file():
            fail("teacher", "a file that exists", str(teacher), error=FileNotFoundError)
    elif not isinstance(teacher, keras.Model):
        kinds, kind = "a classifier or its .keras file", type(teacher).__name__
        hint = "Rows of probabilities are for `fine_tune`, whose images you order."
        fail("teacher", kinds, kind, hint, TypeError)
    if class_weight is not None:
        fail("class_weight", "None beside a teacher", class_weight)


def check_teaching(
    bound: BoundModel, train: Source, distillation: Any, **others: Any
) -> tuple[float, float]:
    """Alpha and temperature; raises where a teacher and its options do not fit.

    `others` are arguments that must be None beside a teacher.
    """
    if not isinstance(distillation, (tuple, list)) or len(distillation) != 2:
        fail("distillation", "(alpha, temperature)", distillation)
    check_number("distillation", distillation[0], 0.0, 1.0)
    check_number("distillation", distillation[1], above=0.0)
    task = bound.task
    if task is None or not task.single_class or task.units != len(task.class_names):
        hint = "It teaches one class of several, with a logit for each."
        fail("teacher", "None for this model", "a teacher", hint)
    if not isinstance(train, (ImageSource, ArraySource)):
        hint = "Its answers are computed once: pass an ImageSet or arrays."
        fail("teacher", "None for a dataset of batches", "a teacher", hint)
    for name, given in others.items():
        if given is not None:
            fail(name, "None beside a teacher", given)
    return tuple(map(float, distillation))


def teach(
    bound: BoundModel, train: Source, teacher: Any, cache: FeatureCache, batch_size: int
) -> Source:
    """The training data with the teacher's logits beside the labels."""
    shape = len(train), bound.task.units
    if isinstance(teacher, (str, Path)):
        check_teacher(teacher, None)
        teacher = load_model(Path(teacher).expanduser())
    if isinstance(teacher, keras.Model):
        logits = _answers(bound, train, teacher, cache, batch_size)
    else:
        shares = np.asarray(teacher, "float64")
        if shares.shape != shape:
            fail("teacher", f"a model or probabilities of shape {shape}", shares.shape)
        right = (shares >= 0).all() and np.allclose(shares.sum(axis=1), 1, atol=1e-3)
        if not right:
            fail("teacher", "rows of probabilities that sum to 1", "others")
        logits = np.log(np.maximum(shares, np.finfo("float32").tiny))
    labels = np.reshape(train.targets, (-1, 1))
    taught = np.concatenate([labels, logits], axis=1).astype("float32")
    if isinstance(train, ImageSource):
        return TaughtSource(train.images, train.store, taught=taught)
    return replace(train, targets=taught)


def _answers(
    bound: BoundModel,
    train: Source,
    teacher: keras.Model,
    cache: FeatureCache,
    batch_size: int,
) -> np.ndarray:
    """A classifier's logits for all training images."""
    known = bind_known(teacher)
    if getattr(known.task, "class_names", None) != bound.task.class_names:
        received = getattr(known.task, "class_names", known.task.name)
        hint = f"The model's classes are {', '.join(bound.task.class_names[:12])}."
        fail("teacher", "of the model's classes, in order", received, hint)
    source = train
    # At the teacher's own size, or by its own encoder.
    if isinstance(train, ImageSource):
        source = make_source(known, train.images, "train", keep_pixels=False)
    elif isinstance(train, TextSource):
        source = make_source(known, train.texts, "train")
    blocks = cache.outputs(teacher, source, batch_size=batch_size)
    return np.concatenate(list(blocks))
