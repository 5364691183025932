"""Calibrating a classifier: its temperature, fitted and kept inside the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer
from kerastl.datasets.sets import ImageSet
from kerastl.evaluation.calibration import expected_calibration_error
from kerastl.evaluation.scores import log_loss
from kerastl.evaluation.temperature import fit_temperature
from kerastl.inference.features import run_batches
from kerastl.inference.prediction import pixel_store
from kerastl.inference.scoring import check_scorable
from kerastl.models.compiling import model_task
from kerastl.models.manifest import manifest, set_temperature


@dataclass(frozen=True)
class CalibrationResult:
    """What calibrating did.

    Attributes:
        temperature: What the model now divides its logits by.
        images: Number of images it was fitted on.
        before: `log_loss` and `expected_calibration_error` of those images as the
            model came.
        after: The same with the new temperature. On other images it gains less.
    """

    temperature: float
    images: int
    before: dict[str, float]
    after: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python types, ready for JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        """A short account."""
        lines = [f"temperature {self.temperature:.3f}, fitted on {self.images} images"]
        for name, old in self.before.items():
            words = name.replace("_", " ")
            lines.append(f"{words:<26}  {old:.4f} before, {self.after[name]:.4f} after")
        return "\n".join(lines)


def calibrate(
    model: keras.Model,
    validation: ImageSet,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationResult:
    """Make a classifier's probabilities honest, by one temperature kept inside it.

    Fit it on images that were not trained on, and never on those of the final test.
    The model is changed: its logits are divided by the temperature from now on, in
    `predict`, `evaluate`, its own calls and its `.keras` file. No decision changes,
    and calibrating again begins with the head's own logits, so it adds nothing.

    Args:
        model: A classifier from `build_classifier` or `load_classifier`.
        validation: Labelled images whose classes are the model's.
        batch_size: Images at a time.
        progress: Called with (done, total).

    Returns:
        The temperature, and the scores before and after.

    Raises:
        ValueError: If the images have no labels or other classes than the model.

    Example:
        >>> import numpy as np, kerastl
        >>> from kerastl.inference.calibrating import calibrate
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 200], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> _ = kerastl.fine_tune(model, (images, labels), recipe="linear_probe")
        >>> labels[0] = 1
        >>> result = calibrate(
        ...     model, kerastl.ImageSet(images, labels, ("dark", "light"))
        ... )
        >>> result.after["log_loss"] <= result.before["log_loss"]
        True

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, section 4.2,
        eq. 9.
    """
    check_integer("batch_size", batch_size, 1)
    labels = check_scorable(model, validation)
    task, old = model_task(model), manifest(model).temperature
    logits = run_batches(
        model,
        pixel_store(model, validation).rows,
        len(labels),
        batch_size=batch_size,
        progress=progress,
    )
    # Back to the head's own.
    logits = np.asarray(logits, np.float64) * old
    temperature = fit_temperature(logits, labels)
    set_temperature(model, temperature)
    before, after = (
        _scores(labels, task.probabilities(logits / t)) for t in (old, temperature)
    )
    return CalibrationResult(temperature, len(labels), before, after)


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {
        "log_loss": log_loss(labels, probabilities),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }
