"""Learning-rate schedules, and BiT's rule for how long to train."""

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    image_size_pair,
)

_PACKAGE = "kerastl"

LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule

#: What `rate_schedule` knows, the plainest first.
SCHEDULES = ("constant", "cosine", "linear", "one_cycle", "slanted_triangular")

#: These climb by themselves.
_CLIMBING = ("one_cycle", "slanted_triangular")


class _Settings(LearningRateSchedule):
    """A schedule whose attributes are the arguments that rebuild it."""

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the schedule."""
        return dict(vars(self))


@keras.saving.register_keras_serializable(package=_PACKAGE)
class OneCycle(_Settings):
    """A rate that climbs to a peak and falls far below its start, both as half cosines.

    Only the rate follows the cycle. Smith's policy also lowers the momentum while the
    rate is high; a Keras optimizer's momentum is a fixed number, so here it stays.

    Args:
        peak: Highest rate, above 0.
        steps: Optimizer steps of the whole cycle, at least 1.
        start_divisor: The first rate is `peak / start_divisor`; at least 1.
        end_divisor: The rate after the last step is `peak / end_divisor`; at least 1.
        rising_share: Share of the steps before the peak, above 0 and below 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> schedule = OneCycle(0.1, 100)
        >>> [float(schedule(step)) for step in (0, 25, 100)]
        [0.004, 0.1, 0.000001]

    Reference:
        Smith (2018), arXiv:1803.09820, "1cycle", with the half cosines and the
        numbers of fastai's `fit_one_cycle`: 25, 1e5 and a quarter of the steps.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        *,
        start_divisor: float = 25.0,
        end_divisor: float = 1e5,
        rising_share: float = 0.25,
    ) -> None:
        """See the class."""
        super().__init__()
        check_number("peak", peak, above=0.0)
        check_integer("steps", steps, 1)
        check_number("start_divisor", start_divisor, 1.0)
        check_number("end_divisor", end_divisor, 1.0)
        check_number("rising_share", rising_share, above=0.0, below=1.0)
        self.peak = peak
        self.steps = steps
        self.start_divisor = start_divisor
        self.end_divisor = end_divisor
        self.rising_share = rising_share

    def __call__(self, step: Any) -> Any:
        """The rate of one step, counted from 0."""
        step = ops.cast(step, "float32")
        summit = self.rising_share * self.steps
        up = _half_cosine(self.peak / self.start_divisor, self.peak, step / summit)
        after = ops.minimum((step - summit) / (self.steps - summit), 1.0)
        down = _half_cosine(self.peak, self.peak / self.end_divisor, after)
        return ops.where(step < summit, up, down)


def _half_cosine(start: float, end: float, share: Any) -> Any:
    """From `start` to `end` as `share` goes from 0 to 1, flat at both."""
    # Weights that add up lose no digits where the end is 1e5 times smaller.
    weight = (1.0 + ops.cos(math.pi * share)) / 2.0
    return start * weight + end * (1.0 - weight)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class SlantedTriangular(_Settings):
    """A rate that climbs in a straight line to a peak, and falls slowly in another.

    It needs the number of steps in advance: stopped early, the rate is still high.

    Args:
        peak: Highest rate, above 0.
        steps: Optimizer steps of the whole triangle, at least 1.
        rising_share: Share of the steps before the peak, above 0 and below 1.
        ratio: The first and the last rate are `peak / ratio`; at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> schedule = SlantedTriangular(0.32, 100)
        >>> [round(float(schedule(step)), 4) for step in (0, 10, 100)]
        [0.01, 0.32, 0.01]

    Reference:
        Howard & Ruder (2018), arXiv:1801.06146, eq. 3, whose last stretch is
        `cut (1 / rising_share - 1)` steps long; here it is `steps - cut`, the same
        where `rising_share * steps` is whole, and never below the last rate.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        *,
        rising_share: float = 0.1,
        ratio: float = 32.0,
    ) -> None:
        """See the class."""
        super().__init__()
        check_number("peak", peak, above=0.0)
        check_integer("steps", steps, 1)
        check_number("rising_share", rising_share, above=0.0, below=1.0)
        check_number("ratio", ratio, 1.0)
        self.peak = peak
        self.steps = steps
        self.rising_share = rising_share
        self.ratio = ratio

    def __call__(self, step: Any) -> Any:
        """The rate of one step, counted from 0."""
        step = ops.cast(step, "float32")
        # 0.29 * 100 is a little less than 29.
        cut = max(math.floor(self.steps * self.rising_share + 1e-9), 1)
        down = 1.0 - (step - cut) / max(self.steps - cut, 1)
        height = ops.where(step < cut, step / cut, ops.maximum(down, 0.0))
        return self.peak * (1.0 + height * (self.ratio - 1.0)) / self.ratio


@keras.saving.register_keras_serializable(package=_PACKAGE)
class WarmUp(_Settings):
    """A rate that climbs in a straight line, and then follows another schedule.

    The first step is not zero, which would train nothing: it is `peak / steps`.

    Args:
        schedule: What follows; its own steps begin at 0 after the climb.
        peak: Rate at the end of the climb, above 0: the first one of `schedule`.
        steps: Optimizer steps of the climb, at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> down = keras.optimizers.schedules.CosineDecay(0.1, 10)
        >>> schedule = WarmUp(down, 0.1, 5)
        >>> [round(float(schedule(step)), 3) for step in (0, 5, 15)]
        [0.02, 0.1, 0.0]

    Reference:
        Goyal et al. (2017), arXiv:1706.02677, section 2.2, gradual warmup.
    """

    def __init__(self, schedule: LearningRateSchedule, peak: float, steps: int) -> None:
        """See the class."""
        super().__init__()
        check_number("peak", peak, above=0.0)
        check_integer("steps", steps, 1)
        self.schedule = schedule
        self.peak = peak
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        """The rate of one step, counted from 0."""
        step = ops.cast(step, "float32")
        first = self.peak / self.steps
        climb = first + (self.peak - first) * step / self.steps
        after = self.schedule(ops.maximum(step - self.steps, 0.0))
        return ops.where(step < self.steps, climb, after)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the schedule."""
        inner = keras.saving.serialize_keras_object(self.schedule)
        return {**super().get_config(), "schedule": inner}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        """The schedule that `get_config` describes."""
        inner = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(**{**config, "schedule": inner})


def rate_schedule(
    name: str, peak: float, steps: int, warmup_steps: int = 0
) -> float | LearningRateSchedule:
    """A learning rate as Keras takes it, from the schedule's name."""
    check_choice("schedule", name, SCHEDULES)
    check_number("peak", peak, above=0.0)
    check_integer("steps", steps, 1)
    check_integer("warmup_steps", warmup_steps, 0)
    schedules = keras.optimizers.schedules
    if name in _CLIMBING:
        check_warmup(name, warmup_steps)
        return {"one_cycle": OneCycle}.get(name, SlantedTriangular)(peak, steps)
    if name == "constant" and not warmup_steps:
        return peak
    rest = max(steps - warmup_steps, 1)
    if name == "linear":
        down = schedules.PolynomialDecay(peak, rest, 0.0, power=1.0)
    else:
        # Alpha 1 keeps the peak.
        down = schedules.CosineDecay(peak, rest, alpha=float(name == "constant"))
    # CosineDecay can climb too, but by a branch in the graph for each kernel that
    # decays, which costs TensorFlow seconds in the first step of a deep network.
    return WarmUp(down, peak, warmup_steps) if warmup_steps else down


def check_warmup(name: str, warmup: float) -> None:
    """Raise if a schedule that climbs by itself is to have a warm-up as well."""
    if name in _CLIMBING and warmup:
        hint = "It climbs by itself: leave `warmup` out."
        fail("warmup", f"0 with schedule={name!r}", warmup, hint)


#: Fewer images are a small task, at least as many of the second a large one.
_MEDIUM, _LARGE = 20_000, 500_000
_SMALL_AREA = 96 * 96


@dataclass(frozen=True)
class HyperRule:
    """What BiT-HyperRule chooses for one task.

    Attributes:
        resize: Side in pixels that images are brought to.
        crop: Side of the random crop that the network sees.
        steps: Optimizer steps of the whole fine-tuning.
        warmup: Steps over which the rate climbs.
        boundaries: Steps after which the rate is divided by 10.
        learning_rate: Peak rate, for `batch_size`.
        batch_size: Images in a step.
        optimizer: A name for `Phase`, which gives `"sgd"` its momentum of 0.9.
        mixup: Parameter of mixup's beta distribution; 0: none.
    """

    resize: int
    crop: int
    steps: int
    warmup: int
    boundaries: tuple[int, ...]
    learning_rate: float
    batch_size: int
    optimizer: str
    mixup: float

    def schedule(self) -> WarmUp:
        """The learning rate as a Keras schedule."""
        rates = [self.learning_rate / 10**drop for drop in range(4)]
        after = [step - self.warmup for step in self.boundaries]
        steps_down = keras.optimizers.schedules.PiecewiseConstantDecay(after, rates)
        return WarmUp(steps_down, self.learning_rate, self.warmup)


def bit_hyperrule(images: int, *, image_size: int | tuple[int, int]) -> HyperRule:
    """Settings for fine-tuning a large network, from the number and size of images.

    The rule was made for ResNets with group normalisation, pre-trained on very many
    images; under BatchNorm, or with a small network, treat its rates as a start.

    Args:
        images: Number of training images, at least 1.
        image_size: Pixels of the images as they are, one number or `(height, width)`.

    Returns:
        The settings, with the schedule of the rate.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> rule = bit_hyperrule(3670, image_size=(240, 320))
        >>> rule.steps, rule.crop, rule.boundaries
        (500, 480, (200, 300, 400))

    Reference:
        Kolesnikov et al. (2020), arXiv:1912.11370, section 3.3, "BiT-HyperRule", with
        the numbers of the authors' code: their text has 448 and 384 pixels for all
        networks but the largest, and lets the rate fall at 30, 60 and 90 % of 500 steps
        too. The rate begins at `learning_rate / warmup` instead of zero.
    """
    check_integer("images", images, 1)
    height, width = image_size_pair("image_size", image_size)
    resize, crop = (160, 128) if height * width < _SMALL_AREA else (512, 480)
    if images < _MEDIUM:
        steps, warmup, boundaries = 500, 100, (200, 300, 400)
    elif images < _LARGE:
        steps, warmup, boundaries = 10_000, 500, (3_000, 6_000, 9_000)
    else:
        steps, warmup, boundaries = 20_000, 500, (6_000, 12_000, 18_000)
    return HyperRule(
        resize=resize,
        crop=crop,
        steps=steps,
        warmup=warmup,
        boundaries=boundaries,
        learning_rate=0.003,
        batch_size=512,
        optimizer="sgd",
        mixup=0.1 if images >= _MEDIUM else 0.0,
    )
