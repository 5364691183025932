"""Sweeping the learning rate upwards to see where training works."""

import math
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl._compat import sublayers
from kerastl._progress import Progress
from kerastl.datasets.augmentation import as_augmentation
from kerastl.datasets.parallel import Progress as ProgressFunction
from kerastl.models.compiling import compile_model
from kerastl.models.freezing import Trainable, unfreeze
from kerastl.models.graph import check_functional
from kerastl.models.layers import make_freezable
from kerastl.models.manifest import uncalibrated
from kerastl.training.first_batch import check_first_batch
from kerastl.training.frozen_part import cached_part
from kerastl.training.rate_curve import RateCurve, smooth_losses, suggest_rates
from kerastl.training.sources import Source, StreamSource, make_source
from kerastl.training.unchanged import left_as_found
from kerastl.training.weighting import seed_noise

#: A smoothed loss this many times the lowest so far ends the sweep, as in fastai.
_DIVERGED = 4.0


def find_learning_rate(
    model: keras.Model,
    train: Any,
    *,
    trainable: Trainable | None = "head",
    batch_norm: str = "auto",
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    optimizer: str | keras.optimizers.Optimizer = "adamw",
    weight_decay: float | None = None,
    loss: Any = None,
    label_smoothing: float = 0.0,
    batch_size: int = 32,
    augment: Any = None,
    smoothing: float = 0.9,
    cache: str = "auto",
    seed: int = 0,
    progress: ProgressFunction | None = None,
) -> RateCurve:
    """Loss over a sweep of ever higher learning rates, and the rates to take from it.

    The model is left exactly as it was, its optimizer included, also when the search is
    interrupted; a temperature of `calibrate` is set aside, as in training. The rate
    belongs to this optimizer, batch size and choice of what trains: look again when one
    of them changes.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        train: Training data, of the kinds that `run_phases` takes.
        trainable: What is to train, as in `unfreeze`; None: what trains now.
        batch_norm: As in `unfreeze`; of no effect where `trainable` is None.
        low: First learning rate, above 0.
        high: Last learning rate, above `low`.
        steps: Optimizer steps in all, at least 10; data are passed again as needed.
        optimizer: A Keras name, or an optimizer whose settings are copied; not one of
            `layerwise_optimizer`: the sweep has one rate for all.
        weight_decay: Decoupled decay of kernels; None: the optimizer's own.
        loss: Loss on the outputs; None: the task's.
        label_smoothing: For the task's loss, in [0, 1).
        batch_size: Images in a step.
        augment: Augmentation: see `batches`. Without it the frozen part is computed
            once.
        smoothing: Of the moving average, in [0, 1): see `smooth_losses`.
        cache: Where the frozen part's outputs are kept: see `run_phases`.
        seed: Order, augmentation and dropout follow from it.
        progress: Called with (done, total) steps.

    Returns:
        The curve: it prints with its suggestions, and plots.

    Raises:
        ValueError: If an argument is out of range, the data do not fit the model, or
            nothing trains.
        TypeError: If the model is not functional, or the data of no known kind.
        KeyboardInterrupt: If interrupted; the model is as it was.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"], dropout=0)
        >>> images = np.repeat([0, 255], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> curve = find_learning_rate(model, (images, np.repeat([0, 1], 8)))
        >>> 1e-5 < curve.suggestion < 1
        True

    Reference:
        Smith (2017), arXiv:1506.01186, section 3.3, with the exponential sweep and the
        stop of fastai's `lr_find`.
    """
    _check_sweep(low, high, steps)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    check_number("smoothing", smoothing, 0.0, below=1.0)
    as_augmentation(augment)
    check_functional("model", model)
    source = make_source(model, train, "train", keep_pixels=cache != "disk")
    check_first_batch(model, source, "train")
    watch = _Watch(steps, smoothing, progress)
    with left_as_found(model), uncalibrated(model):
        _open(model, trainable, batch_norm)
        seed_noise(model, seed)
        part = model
        if augment is None:
            part, source = _cached(model, source, steps, batch_size, cache)
        if part is model:
            # Another model on the same layers: compiling it leaves this one's alone.
            part = keras.Model(model.input, model.output, name=model.name)
        compile_model(
            part,
            learning_rate=rising_rate(low, high, steps),
            optimizer=optimizer,
            weight_decay=weight_decay,
            loss=loss,
            metrics=[],
            label_smoothing=label_smoothing,
        )
        data = source.dataset(
            batch_size,
            seed=seed,
            shuffle=True,
            augment=augment,
            # On JAX `fit` begins the data once more than it passes them.
            epoch=lambda: watch.epoch,
        )
        # At most as many passes as steps; the callback ends it.
        part.fit(data, epochs=steps, callbacks=[watch], verbose=0, shuffle=False)
    return _curve(watch, low, high, steps, smoothing)


def rising_rate(
    low: float, high: float, steps: int
) -> keras.optimizers.schedules.ExponentialDecay:
    """The rate of each step of a sweep: `low (high / low)^(step / (steps - 1))`."""
    schedules = keras.optimizers.schedules
    return schedules.ExponentialDecay(low, steps - 1, high / low)


def _check_sweep(low: float, high: float, steps: int) -> None:
    check_number("low", low, above=0.0)
    check_number("high", high, above=0.0, below=math.inf)
    if high <= low:
        fail("high", f"above `low`, {low:g}", high)
    check_integer("steps", steps, 10)


def _open(model: keras.Model, trainable: Trainable | None, batch_norm: str) -> None:
    """Set what trains."""
    if trainable is not None:
        unfreeze(model, trainable, batch_norm=batch_norm)
    else:
        # As phases do: frozen noise is none.
        for layer in sublayers(model):
            make_freezable(layer)
    if not model.trainable_variables:
        hint = "Unfreeze a part of it with kerastl.unfreeze, or pass `trainable`."
        fail("model", "a model with a weight that trains", model.name, hint)


def _cached(
    model: keras.Model, source: Source, steps: int, batch_size: int, cache: str
) -> tuple[keras.Model, Source]:
    """What is fitted on what: the model on images, or its end on activations."""
    passes = steps
    if not isinstance(source, StreamSource):
        passes = -(-steps // -(-len(source) // batch_size))
    with Progress("computing features") as progress:
        part, found, _, _ = cached_part(
            model,
            source,
            None,
            epochs=passes,
            batch_size=batch_size,
            cache=cache,
            progress=progress,
        )
    return part, found


def _curve(
    watch: "_Watch", low: float, high: float, steps: int, smoothing: float
) -> RateCurve:
    losses = np.array(watch.losses)
    rates = low * (high / low) ** (np.arange(len(losses)) / (steps - 1))
    smoothed = smooth_losses(losses, smoothing)
    return RateCurve(
        rates, losses, smoothed, suggest_rates(rates, losses, smoothing), watch.stopped
    )


class _Watch(keras.callbacks.Callback):
    """Keeps the loss of each batch, and ends the sweep in time."""

    def __init__(
        self, steps: int, smoothing: float, progress: ProgressFunction | None
    ) -> None:
        super().__init__()
        self.steps = steps
        self.smoothing = smoothing
        self.progress = progress
        self.epoch = 0
        self.losses: list[float] = []
        self.stopped = ""
        self._average = 0.0
        self._lowest = math.inf

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the data which epoch begins."""
        self.epoch = epoch

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Keep the loss; it is this batch's alone, the mean is taken anew each time."""
        loss = float(logs["loss"])
        self.losses.append(loss)
        if self.progress is not None:
            self.progress(len(self.losses), self.steps)
        self.stopped = self._reason(loss)
        if self.stopped or len(self.losses) == self.steps:
            self.model.stop_training = True
            return
        # On JAX the state of metrics is in the step's hands until it is asked back.
        take_back = getattr(self.model, "jax_state_sync", None)
        if take_back is not None:
            take_back()
        self.model.reset_metrics()

    def _reason(self, loss: float) -> str:
        """Why the sweep must end now; empty if it need not."""
        if not math.isfinite(loss):
            return "stopped there: the loss is not finite"
        kept = self.smoothing
        self._average = kept * self._average + (1 - kept) * loss
        smoothed = self._average / (1 - kept ** len(self.losses))
        self._lowest = min(self._lowest, smoothed)
        if smoothed > _DIVERGED * self._lowest > 0:
            return f"stopped there: the loss is {_DIVERGED:g} times the lowest"
        return ""
