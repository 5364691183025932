"""Accuracy and loss of a classifier on images that are decoded once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.inference.features import run_batches
from kerastl.models.compiling import model_task
from kerastl.models.manifest import manifest
from kerastl.training.sources import StreamSource, make_source


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
    """Scores the weights that a classifier has at the time.

    Args:
        model: A classifier from `build_classifier`.
        validation: An `ImageSet` or a pair `(images, labels)`.
        batch_size: Images at a time.

    Raises:
        ValueError: If the data do not fit the model, or the model has no task.
        TypeError: If the data are of no known kind.
    """

    def __init__(
        self, model: keras.Model, validation: Any, batch_size: int = 64
    ) -> None:
        """See the class."""
        manifest(model)
        self.task = model_task(model)
        self.source = make_source(model, validation, "validation")
        if isinstance(self.source, StreamSource):
            kinds = "an ImageSet or an (images, labels) pair"
            fail("validation", kinds, type(validation).__name__, error=TypeError)
        self.batch_size = batch_size

    def score(
        self, model: keras.Model, progress: Callable[[int, int], None] | None = None
    ) -> Score:
        """The model's score with its present weights."""
        source = self.source
        logits = run_batches(
            model,
            source.rows,
            len(source),
            batch_size=self.batch_size,
            progress=progress,
        )
        labels = np.asarray(source.labels)
        chances = self.task.probabilities(logits)
        tiny = np.finfo("float64").tiny
        if self.task.name == "multilabel":
            right = (chances >= 0.5) == (labels == 1)
            given = np.where(labels == 1, chances, 1.0 - chances)
        else:
            labels = labels.reshape(-1)
            right = chances.argmax(axis=1) == labels
            given = chances[np.arange(len(labels)), labels]
        loss = -np.log(np.maximum(given, tiny)).mean()
        return Score(float(right.mean()), float(loss))
