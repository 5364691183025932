"""BiT-HyperRule: settings for fine-tuning from the size of the data alone."""

from dataclasses import dataclass

import keras

from kerastl._checks import check_integer, image_size_pair
from kerastl.training.schedules import WarmUp

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
