"""The rule behind the advice: from measurements to what should train, and why."""

import math
from dataclasses import dataclass

#: Images a class below which data are small: where the backbone fits, and where it does
#: not. Far below the usual 50 (VTAB-1k has 1,000 images): with held statistics, warm-up
#: and the best epoch kept, fine-tuning beat a head from 5 photos of a class on, and a
#: head on earlier features from 10 drawings on; of 5 digits the cut won
#: (benchmarks/advice.md).
SMALL_SIMILAR = 5
SMALL_DIFFERENT = 8
#: And in all: of many classes a few images each are much to learn from.
SMALL_IMAGES = 200
#: From here on training from random weights is worth a try: BiT-HyperRule's boundary
#: (Kolesnikov et al. 2020, section 3.3) between small and medium tasks.
SCRATCH_IMAGES = 20_000
#: Standard errors of the difference that an earlier cut must win by. They are taken as
#: if the two were independent, which overstates them: one does, as in the rule of one
#: standard error; with two, cells of 50 digits and 300 drawings pass for photos.
DIFFERENT_MARGIN = 1.0
#: And in accuracy: on many images the least of differences is many standard errors.
DIFFERENT_GAP = 0.02
#: Standard errors above the commonest class that a probe must reach to tell anything.
CHANCE_MARGIN = 2.0
#: ImageNet deviations between the mean light, contrast or colour of the images and
#: ImageNet's. A convention: flowers lie at 0.3 to 0.6, night scenes beyond.
INPUT_SHIFT = 1.0
#: Peak rate near the pre-training (benchmarks/defaults.md). Far from it the recipe's
#: own: twice that gained nothing on average (benchmarks/recipes.md).
NEAR_RATE = 3e-4
#: Of a head alone. A recipe's own 3e-3 ends far from converged on 100 images.
PROBE_RATE = 1e-2


@dataclass(frozen=True)
class Measurements:
    """What is known about data and backbone when the decision is made.

    Attributes:
        images: Training images.
        classes: Classes among them.
        chance: Share of the commonest class: the accuracy of knowing nothing.
        cuts: Names of the cuts that were probed, from input to output; the last is
            the top.
        accuracies: Cross-validated accuracy of a linear probe at each, 0 to 1.
        standard_errors: Of these accuracies.
        probed: Images that they were measured on.
        input_shift: How far light, contrast and colour are from ImageNet's, in its
            deviations; blur, noise and subject it does not see.
        pretrained: Whether weights were loaded.
        random_accuracy: The best probe on the same network with random weights; None
            where that was not measured.
    """

    images: int
    classes: int
    chance: float
    cuts: tuple[str, ...]
    accuracies: tuple[float, ...]
    standard_errors: tuple[float, ...]
    probed: int
    input_shift: float = 0.0
    random_accuracy: float | None = None
    pretrained: bool = True

    @property
    def per_class(self) -> float:
        """Mean number of images of a class."""
        return self.images / self.classes

    @property
    def is_small(self) -> bool:
        """Whether there are few images, of each class and in all."""
        return self.per_class < self.small_limit and self.images < SMALL_IMAGES

    @property
    def small_limit(self) -> int:
        """Images a class below which data of this similarity are small."""
        return SMALL_DIFFERENT if self.is_different else SMALL_SIMILAR

    @property
    def earlier(self) -> int:
        """Position of the best cut before the top; the earliest of equals."""
        return max(range(len(self.cuts) - 1), key=lambda i: self.accuracies[i])

    @property
    def truncation(self) -> str:
        """The last cut before the top within one standard error of the best of them.

        Not the first: a later one is likelier to be as good on new images.
        """
        least = self.accuracies[self.earlier] - self.standard_errors[self.earlier]
        good = [i for i in range(len(self.cuts) - 1) if self.accuracies[i] >= least]
        return self.cuts[good[-1]]

    @property
    def gap(self) -> float:
        """By how much the best earlier cut beats the top, in accuracy."""
        return self.accuracies[self.earlier] - self.accuracies[-1]

    @property
    def margin(self) -> float:
        """The same in standard errors of the difference, as if independent."""
        errors = self.standard_errors[self.earlier], self.standard_errors[-1]
        spread = math.hypot(*errors)
        if spread == 0:
            return math.copysign(math.inf, self.gap) if self.gap else 0.0
        return self.gap / spread

    @property
    def beats_chance(self) -> bool:
        """Whether the probe at the top tells more than the commonest class does."""
        # Not the error over the folds, which is 0 where all of them are equally bad.
        error = math.sqrt(self.chance * (1 - self.chance) / self.probed)
        return self.accuracies[-1] - self.chance > CHANCE_MARGIN * error

    @property
    def is_different(self) -> bool:
        """Whether the last layers of the backbone are of less use than earlier ones."""
        ahead = self.margin > DIFFERENT_MARGIN and self.gap > DIFFERENT_GAP
        return ahead or not self.beats_chance

    @property
    def input_is_shifted(self) -> bool:
        """Whether the pixels themselves are unlike those of the pre-training."""
        return self.input_shift > INPUT_SHIFT

    @property
    def may_restart(self) -> bool:
        """Whether random weights are worth a comparison: much data, unlike the old."""
        enough = self.images >= SCRATCH_IMAGES
        return self.pretrained and enough and self.is_different and not self.is_small

    @property
    def weights_are_useless(self) -> bool:
        """Whether random weights give as good features, and data could replace them."""
        if self.random_accuracy is None or not self.may_restart:
            return False
        return max(self.accuracies) <= self.random_accuracy


@dataclass(frozen=True)
class Decision:
    """What to do, without the numbers that depend on the network.

    Attributes:
        quadrant: `"small and similar"`, `"large and similar"`, `"small and
            different"` or `"large and different"`.
        row: Name of the row of the table that decided.
        cut: Name of the cut to truncate the backbone at; None keeps it whole.
        recipe: Name in `RECIPES`.
        unfreeze: `"head"`, `"upper half"` or `"all"`.
        learning_rate: Peak rate of the last phase; None: the recipe's own.
        augments: Whether augmentation pays: not for features computed once.
    """

    quadrant: str
    row: str
    cut: str | None
    recipe: str
    unfreeze: str
    learning_rate: float | None
    augments: bool


#: Row -> recipe, what trains, rate of the last phase, augmentation.
TABLE: dict[str, tuple[str, str, float | None, bool]] = {
    "small and similar": ("linear_probe", "head", PROBE_RATE, False),
    "large and similar": ("two_phase", "upper half", NEAR_RATE, True),
    "large and similar, shifted input": ("lp_ft", "all", NEAR_RATE, True),
    "small and different": ("linear_probe", "head", PROBE_RATE, False),
    "large and different": ("lp_ft", "all", None, True),
    "large and different, useless weights": ("scratch", "all", None, True),
    "random weights": ("scratch", "all", None, True),
}


def decide(measured: Measurements) -> Decision:
    """The row of the table that the measurements fall into.

    Args:
        measured: At least two cuts.

    Returns:
        What to do; the same for the same numbers.

    Example:
        >>> probes = {"accuracies": (0.5, 0.7), "standard_errors": (0.05, 0.05)}
        >>> few = Measurements(20, 5, 0.2, ("early", "top"), **probes, probed=20)
        >>> decide(few).recipe
        'linear_probe'
    """
    size = "small" if measured.is_small else "large"
    quadrant = f"{size} and {'different' if measured.is_different else 'similar'}"
    row, cut = quadrant, None
    if not measured.pretrained:
        row = "random weights"
    elif quadrant == "large and similar" and measured.input_is_shifted:
        row = "large and similar, shifted input"
    elif quadrant == "small and different" and measured.gap > 0:
        cut = measured.truncation
    elif measured.weights_are_useless:
        row = "large and different, useless weights"
    recipe, unfreeze, rate, augments = TABLE[row]
    return Decision(quadrant, row, cut, recipe, unfreeze, rate, augments)


_ACTIONS = {
    "small and similar": "Train the head alone: so few images would bend more of the "
    "network to themselves than they could teach it.",
    "large and similar": "Train the head, then the upper half of the backbone: what "
    "the lower half has learnt fits already.",
    "large and similar, shifted input": "Train the head, then everything: the top "
    "fits, but a shift of the pixels is mended in the first blocks.",
    "small and different": "Train a head alone, on the features that fit best: there "
    "are too few images to teach the network new ones.",
    "large and different": "Train the head, then everything: the features must "
    "change, and there are images to change them by.",
    "large and different, useless weights": "Train from random weights: those at hand "
    "are of no use here, and there are images enough to do without.",
    "random weights": "Train everything from the start: the network has learnt nothing "
    "that could be kept.",
}


def decision_reasons(measured: Measurements, decision: Decision) -> tuple[str, ...]:
    """Sentences on size, similarity and shift, then what follows."""
    found = [_size(measured)]
    if measured.pretrained:
        found += [_similarity(measured), _shift(measured)]
    if measured.random_accuracy is not None:
        found.append(_random(measured))
    found.append(_ACTIONS[decision.row])
    if decision.cut is not None:
        found.append(f"Cut the backbone after {decision.cut}.")
    return tuple(found)


def _size(measured: Measurements) -> str:
    word = "few" if measured.is_small else "enough to train more than a head on"
    return (
        f"{measured.images:,} training images of {measured.classes} classes, "
        f"{measured.per_class:.0f} a class: {word} (few means below "
        f"{measured.small_limit} a class and below {SMALL_IMAGES:,} in all)."
    )


def _similarity(measured: Measurements) -> str:
    top = f"{measured.accuracies[-1]:.1%} +- {measured.standard_errors[-1]:.1%}"
    text = f"A linear probe reaches {top} at the top of the backbone"
    if not measured.beats_chance:
        return (
            f"{text}, no better than naming the commonest class "
            f"({measured.chance:.1%}): the images are unlike those of the pre-training."
        )
    place = measured.earlier
    earlier = f"{measured.accuracies[place]:.1%} +- "
    earlier += f"{measured.standard_errors[place]:.1%} after {measured.cuts[place]}"
    text += f" and {earlier}, the best cut before it"
    rule = f"more than {DIFFERENT_MARGIN:g} standard errors and {DIFFERENT_GAP:.0%}"
    if measured.is_different:
        return (
            f"{text}, {measured.margin:.1f} standard errors ahead: the last layers are "
            "specific to other images."
        )
    return (
        f"{text}, not ahead by {rule}: the images are like those of the pre-training."
    )


def _shift(measured: Measurements) -> str:
    word = "beyond" if measured.input_is_shifted else "within"
    return (
        f"Light, contrast and tint are {measured.input_shift:.1f} deviations from "
        f"ImageNet's, {word} the {INPUT_SHIFT:g} of ordinary photos; noise, blur and "
        "what is shown are not measured."
    )


def _random(measured: Measurements) -> str:
    word = "no better than" if measured.weights_are_useless else "better than"
    return (
        f"The best probe, {max(measured.accuracies):.1%}, is {word} that of random "
        f"weights, {measured.random_accuracy:.1%}; that counts from "
        f"{SCRATCH_IMAGES:,} images on."
    )
