"""Mixup and CutMix: images of a batch mixed in pairs, and their labels with them.

Not `keras.layers.MixUp` and `CutMix`: in a pipeline their random state is one
variable that parallel steps share, so a seed does not say what an epoch sees; they
give each image its own share; and the label's share in CutMix is that of a box
between the pixels, not of the pixels that were pasted.
"""

from dataclasses import dataclass

import numpy as np

from kerastl._checks import check_number, fail


@dataclass(frozen=True)
class Mixing:
    """How the images of a training batch are mixed with each other.

    Labels become the share of each class, `(b, num_classes)`, also where they were
    indices; validation stays as it is. The training accuracy then counts the class of
    the larger share, so it says little. With both numbers above 0 each batch is mixed
    in one of the two ways, by the toss of a coin.

    Attributes:
        mixup: Alpha of mixup; 0: off. The share of an image comes from
            Beta(alpha, alpha), once a batch: 0.1 to 0.4 changes most images little,
            1 draws it evenly.
        cutmix: Alpha of CutMix, in which a box of the partner is pasted over the
            image; 0: off. 1 is usual.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> Mixing(mixup=0.2).is_on, Mixing().is_on
        (True, False)

    Reference:
        Zhang et al. (2018), mixup, arXiv:1710.09412, §2; Yun et al. (2019),
        CutMix, arXiv:1905.04899, §3.1, eq. 1.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("mixup", self.mixup, 0, below=float("inf"))
        check_number("cutmix", self.cutmix, 0, below=float("inf"))

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def draw(
        self, total: int, batch_size: int, size: tuple[int, int], seed: int, epoch: int
    ) -> dict[str, np.ndarray]:
        """What happens to each row of an epoch, in the order of the rows.

        A batch's mixture depends on seed, epoch, its number and its length alone.

        Args:
            total: Rows in the epoch.
            batch_size: Rows in a batch; the last may be smaller.
            size: `(height, width)` in pixels, for the box.
            seed: Non-negative integer.
            epoch: Number of the epoch, from 0.

        Returns:
            `partner` int64 `(n,)`, a place within the batch; `share` float32 `(n,)`
            of the image in its label; `blend` float32 `(n,)`, its share in the pixels
            outside the box; and `box` int32 `(n, 4)`: top, left, bottom, right of
            the partner's pixels, where CutMix is on.
        """
        partner = np.empty(total, np.int64)
        share, blend = np.ones((2, total), np.float32)
        box = np.zeros((total, 4), np.int32)
        for step, start in enumerate(range(0, total, batch_size)):
            rows = slice(start, min(start + batch_size, total))
            random = np.random.default_rng([seed, epoch, 3, step])
            partner[rows] = random.permutation(rows.stop - start)
            cut = random.random() >= 0.5 if self.mixup else True
            if cut and self.cutmix:
                box[rows] = place = _draw_box(random, self.cutmix, size)
                pasted = (place[2] - place[0]) * (place[3] - place[1])
                share[rows] = 1 - pasted / (size[0] * size[1])
            else:
                share[rows] = blend[rows] = random.beta(self.mixup, self.mixup)
        rows = {"partner": partner, "share": share, "blend": blend}
        return {**rows, "box": box} if self.cutmix else rows

    def signature(self, total: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shapes and types of what `draw` makes."""
        rows = {
            "partner": ((total,), "int64"),
            "share": ((total,), "float32"),
            "blend": ((total,), "float32"),
        }
        box = {"box": ((total, 4), "int32")}
        return {**rows, **box} if self.cutmix else rows


def _draw_box(
    random: np.random.Generator, alpha: float, size: tuple[int, int]
) -> np.ndarray:
    """Top, left, bottom, right of a box anywhere in the image, cut at its border."""
    sides = np.array(size)
    # The area is 1 - lambda; both sides shrink alike.
    halves = sides * np.sqrt(1 - random.beta(alpha, alpha)) / 2
    centre = random.random(2) * sides
    corners = np.concatenate([centre - halves, centre + halves])
    return np.clip(np.rint(corners), 0, np.tile(sides, 2)).astype(np.int32)


def as_mixing(mixing: Mixing | None) -> Mixing | None:
    """The mixing, or None where it changes nothing.

    Raises:
        TypeError: If it is anything else.
    """
    if mixing is None:
        return None
    if not isinstance(mixing, Mixing):
        hint = "Pass Mixing(mixup=0.2)."
        fail("mixing", "a Mixing", mixing, hint, TypeError)
    return mixing if mixing.is_on else None
