"""What a sweep of learning rates shows, and the rates to read off it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_number, fail
from kerastl.evaluation.rates import plot_learning_rates

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
class RateCurve:
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

    Args:
        losses: `(n,)`.
        smoothing: Weight that passes from one step to the next, in [0, 1).

    Returns:
        `a_k / (1 - smoothing^k)`, where `a_k = smoothing a_(k-1)
        + (1 - smoothing) loss_k` and `a_0 = 0`; `(n,)`.

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

    Args:
        rates: Rising learning rates `(n,)`, all above 0.
        losses: Loss of each batch `(n,)`.
        smoothing: Of the moving average that they are read off, in [0, 1).

    Returns:
        `"valley"`, `"steepest"` and `"minimum"`; empty if the losses are too few, or
        fall by no more than noise would let them.

    Raises:
        ValueError: If there are not as many losses as rates.

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
