"""The learning-rate range test."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail
from kerastl._compat import sublayers
from kerastl._progress import Progress, ProgressLine
from kerastl._tables import Tabular
from kerastl.data.augmentation import as_augmentation
from kerastl.data.sources import Source, StreamSource
from kerastl.evaluation.plots import plot_learning_rates
from kerastl.features.cache import FrozenPart, cached_part
from kerastl.features.sources import make_source
from kerastl.models.blocks import check_functional
from kerastl.models.freezing import Trainable, unfreeze
from kerastl.models.layers import make_freezable, seed_noise
from kerastl.models.record import uncalibrated
from kerastl.tasks.compiling import build_optimizer, compile_model
from kerastl.tasks.task import bind
from kerastl.training.checks import check_first_batch
from kerastl.training.watching import left_as_found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: A fall by a smaller share of the loss is too little to read a rate off.
_LEAST_FALL = 0.003
#: Deviations of the average that it falls by chance in one sweep of a hundred, found
#: by drawing losses at random.
_NOISE = 7.0
#: Share of the sweep at its start in which the smoothed loss is that of few batches.
_UNSETTLED = 0.1
_FEWEST_POINTS = 8


@dataclass(frozen=True, eq=False)
class RateCurve(Tabular):
    """Losses over a sweep of learning rates; it prints with the rates to take.

    Attributes:
        rates: Learning rate of each step `(k,)`, rising.
        losses: Loss of each step's batch `(k,)`, before that step's update.
        smoothed: Their moving average `(k,)`.
        suggestions: Rates by name: `"valley"`, halfway between the rates at which a
            tenth and nine tenths of the fall are done; `"steepest"`, where the loss
            falls most for a factor of the rate; `"minimum"`, a tenth of the rate at
            the lowest loss. All are read off the smoothed losses; empty where these
            do not fall clearly.
        stopped: Why the sweep ended before its highest rate; empty if it did not.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestions: dict[str, float]
    stopped: str = ""

    @property
    def suggestion(self) -> float | None:
        """The rate to begin with, the valley's; None where there is none."""
        return self.suggestions.get("valley")

    @property
    def diverged(self) -> bool:
        """Whether the sweep found the rate that is too high."""
        return bool(self.stopped)

    def plot(self, *, axes: "Axes | None" = None) -> "Figure":
        """The curve with its suggestions: see `plot_learning_rates`."""
        return plot_learning_rates(
            self.rates,
            self.losses,
            smoothed=self.smoothed,
            suggestions=self.suggestions,
            axes=axes,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {
            "suggestion": self.suggestion,
            "suggestions": dict(self.suggestions),
            "stopped": self.stopped,
            **arrays,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"rate": rate, "loss": loss, "smoothed": smoothed}
            for rate, loss, smoothed in zip(
                *(getattr(self, name).tolist() for name in _ARRAYS), strict=True
            )
        ]

    def _heading(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """The rates to take, and how far the sweep went."""
        lines = [f"{name:<10} {rate:.1e}" for name, rate in self.suggestions.items()]
        if not lines:
            lines = ["no suggestion: the loss did not fall clearly; try more `steps`"]
        swept = f"{self.rates[0]:.0e} to {self.rates[-1]:.0e}"
        lines += ["", f"{len(self.rates)} rates from {swept}"]
        if self.stopped:
            lines[-1] += f"; {self.stopped}"
        elif np.argmin(self.smoothed) == len(self.smoothed) - 1:
            lines[-1] += "; the loss still fell at the highest: raise `high`"
        return "\n".join(lines)


_ARRAYS = ("rates", "losses", "smoothed")


def smooth_losses(losses: ArrayLike, smoothing: float) -> np.ndarray:
    """A moving average whose weights add up to 1 from the first value on.

    Example:
        >>> smooth_losses([1.0, 3.0], 0.5).tolist()
        [1.0, 2.333]

    Reference:
        Kingma & Ba (2015), arXiv:1412.6980, section 3.
    """
    check_number("smoothing", smoothing, 0.0, below=1.0)
    average, smoothed = 0.0, []
    for number, loss in enumerate(np.asarray(losses, float), start=1):
        average = smoothing * average + (1 - smoothing) * loss
        smoothed.append(average / (1 - smoothing**number))
    return np.array(smoothed)


def suggest_rates(
    rates: ArrayLike, losses: ArrayLike, smoothing: float
) -> dict[str, float]:
    """Rates to read off a sweep: see `RateCurve`.

    Reference:
        Smith (2017), arXiv:1506.01186, section 3.3, for the sweep. The valley is not
        fastai's, the middle of the longest sequence of falling losses: over a head that
        begins at zeros the loss falls from the first step on, hardly at first, and that
        middle moves with the first rate of the sweep.
    """
    x, raw = np.asarray(rates, float), np.asarray(losses, float)
    if x.ndim != 1 or raw.shape != x.shape:
        fail("losses", f"of shape {x.shape}, as `rates`", raw.shape)
    raw = np.where(np.isfinite(raw), raw, np.nan)
    curve = smooth_losses(raw, smoothing)
    known = np.isfinite(curve) & (np.arange(len(x)) >= int(_UNSETTLED * len(x)))
    if known.sum() < _FEWEST_POINTS:
        return {}
    noise = _NOISE * batch_noise(raw) * np.sqrt((1 - smoothing) / (1 + smoothing))
    x, curve = x[known], curve[known]
    lowest = int(curve.argmin())
    falling = curve[: lowest + 1]
    highest = float(falling.max())
    fall = highest - float(falling[-1])
    if fall <= max(noise, _LEAST_FALL * abs(highest)):
        return {}
    # Of the middle four fifths: the ends of a fall are flat, and lie anywhere.
    begin = int(np.flatnonzero(falling >= highest - 0.1 * fall)[-1])
    after = falling[begin + 1 :] <= falling[-1] + 0.1 * fall
    end = begin + 1 + int(np.flatnonzero(after)[0])
    slopes = np.gradient(curve, np.log(x))[: lowest + 1]
    return {
        "valley": float(np.sqrt(x[begin] * x[end])),
        "steepest": float(x[slopes.argmin()]),
        "minimum": float(x[lowest] / 10),
    }


def batch_noise(losses: np.ndarray) -> float:
    """Deviation of single losses in the first third of a sweep, where they hardly move.

    Taken from the differences of neighbours, so that a slow fall does not count.
    """
    first = losses[np.isfinite(losses)][: max(len(losses) // 3, 3)]
    return float(np.std(np.diff(first)) / np.sqrt(2.0))


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
    progress: Progress | None = None,
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
    check_number("low", low, above=0.0)
    check_number("high", high, above=0.0, below=math.inf)
    if high <= low:
        fail("high", f"above `low`, {low:g}", high)
    check_integer("steps", steps, 10)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    check_number("smoothing", smoothing, 0.0, below=1.0)
    as_augmentation(augment)
    check_functional("model", model)
    bound = bind(model)
    source = make_source(bound, train, "train", keep_pixels=cache != "disk")
    check_first_batch(bound, source, "train")
    watch = _Watch(steps, smoothing, progress)
    with left_as_found(model), uncalibrated(model):
        _open(model, trainable, batch_norm)
        seed_noise(model, seed)
        # Another model on the same layers: compiling it leaves this one's alone.
        part = keras.Model(model.input, model.output, name=model.name)
        if augment is None:
            frozen = _cached(model, source, steps, batch_size, cache)
            source = frozen.train
            part = frozen.part if frozen.cached else part
        compile_model(
            part,
            learning_rate=rising_rate(low, high, steps),
            optimizer=optimizer,
            weight_decay=weight_decay,
            loss=loss,
            metrics=[],
            label_smoothing=label_smoothing,
            bound=bound,
        )
        data = source.dataset(
            batch_size,
            seed=seed,
            shuffle=True,
            augment=augment,
            # On JAX `fit` begins the data once more than it passes them.
            epoch=lambda: watch.epoch,
        )
        build_optimizer(part)
        # At most as many passes as steps; the callback ends it.
        part.fit(data, epochs=steps, callbacks=[watch], verbose=0, shuffle=False)
    losses = np.array(watch.losses)
    rates = low * (high / low) ** (np.arange(len(losses)) / (steps - 1))
    smoothed = smooth_losses(losses, smoothing)
    suggestions = suggest_rates(rates, losses, smoothing)
    return RateCurve(rates, losses, smoothed, suggestions, watch.stopped)


def rising_rate(
    low: float, high: float, steps: int
) -> keras.optimizers.schedules.ExponentialDecay:
    """The rate of each step of a sweep: `low (high / low)^(step / (steps - 1))`."""
    schedules = keras.optimizers.schedules
    return schedules.ExponentialDecay(low, steps - 1, high / low)


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
) -> FrozenPart:
    """What is fitted on what: the model on images, or its end on activations."""
    passes = steps
    if not isinstance(source, StreamSource):
        passes = -(-steps // -(-len(source) // batch_size))
    with ProgressLine("computing features") as progress:
        return cached_part(
            model,
            source,
            None,
            epochs=passes,
            batch_size=batch_size,
            cache=cache,
            progress=progress,
        )


class _Watch(keras.callbacks.Callback):
    """Keeps the loss of each batch, and ends the sweep in time."""

    def __init__(self, steps: int, smoothing: float, progress: Progress | None) -> None:
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
