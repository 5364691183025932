"""What to train, and how much of it: a measured answer with its reasons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl.data.images import PixelStore
from kerastl.data.inputs import stratified_sample, training_images
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.sources import ImageSource
from kerastl.features.cache import FeatureCache
from kerastl.features.network import feature_network, open_backbone, run_batches
from kerastl.features.probe import as_features
from kerastl.models.backbones import using_precision
from kerastl.models.blocks import cut_points, multiplications_below, truncate
from kerastl.models.freezing import model_blocks
from kerastl.models.record import is_pretrained, network_size
from kerastl.models.registry import IMAGENET_DEVIATION, IMAGENET_MEAN
from kerastl.selection.depth import DepthProfile, probe_depths
from kerastl.training.recipes import MINIMUM_STEPS, default_augment, recipe_phases

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


_FOLDS = 5
#: A cut with a smaller share of the work on one side is none inside.
_EDGE = 0.05
#: Images that show whether a network is broken.
_GLANCE = 8
#: A head on features computed once costs little: more epochs than a recipe's own.
_HEAD_EPOCHS = 60


@dataclass(frozen=True, eq=False)
class Advice:
    """How to train, and why; it prints as a short account.

    Attributes:
        quadrant: `"small and similar"`, `"large and similar"`, `"small and
            different"` or `"large and different"`.
        cut: Name of the cut to truncate the backbone at; None keeps it whole.
        unfreeze: `"head"`, a number of blocks from the top, or `"all"`: what trains in
            the recipe's last phase.
        recipe: Name for `fine_tune`.
        learning_rate: Peak rate of the recipe's last phase.
        epochs: One number for each of the recipe's phases.
        augment: Preset of `batches`, or None.
        reasons: Sentences with the numbers behind them.
        evidence: The measurements that were decided on.
    """

    quadrant: str
    cut: str | None
    unfreeze: str | int
    recipe: str
    learning_rate: float
    epochs: tuple[int, ...]
    augment: str | None
    reasons: tuple[str, ...]
    evidence: Measurements

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "evidence": asdict(self.evidence)}

    def __str__(self) -> str:
        """The advice, then the reasons."""
        trains = self.unfreeze
        if isinstance(trains, int):
            trains = f"head and top {trains} block{'s' * (trains != 1)}"
        rows = {
            "data": self.quadrant,
            "recipe": self.recipe,
            "trains": {"all": "everything", "head": "head only"}.get(trains, trains),
            "backbone": f"cut after {self.cut}" if self.cut else "whole",
            "epochs": ", ".join(map(str, self.epochs)),
            "learning rate": f"{self.learning_rate:g}",
            "augment": self.augment or "none",
        }
        lines = [f"{name:<14} {value}" for name, value in rows.items()]
        return "\n".join([*lines, "", *(f"- {reason}" for reason in self.reasons)])


def advise(
    data: ImageSet | Splits | str | Path,
    backbone: str | keras.Model,
    *,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    resize: str = "stretch",
    cuts: int | Sequence[str] = 6,
    images: int = 2000,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
    cache: FeatureCache | None = None,
) -> Advice:
    """How much of a backbone to train: data placed on the size x similarity grid.

    Both axes are measured: size by counting, similarity by linear probes at several
    depths of this very backbone. Its limits are rules of thumb, tried on few data sets;
    where it matters, run two recipes and compare them on validation images.

    Args:
        data: Images with one label each, at least two of each class: an `ImageSet`,
            `Splits` (whose training part is used), a folder (see `load_images`) or a
            data set's name.
        backbone: Name in `list_backbones()`, a backbone, or a classifier, whose head is
            left out.
        alpha: Width of a MobileNet, for a backbone given by name.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's.
        weights: For a backbone given by name: see `build_backbone`.
        preprocessing: For a foreign model: see `build_classifier`.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        cuts: How many cut points to probe, at least 2, or their names: see
            `depth_profile`. The last of them stands for the top.
        images: Most images to measure on, drawn in the proportions of the classes.
        batch_size: Images at a time.
        seed: Of the draw and the folds, and of random weights.
        progress: Called with (done, total) images.
        cache: Keeps what the backbone computes, for `follow` and the training to come
            in batches of the same size.

    Returns:
        The advice: it prints with its reasons.

    Raises:
        ValueError: If the data have one class or too few images of one, if the
            features are of no use, or if the backbone cannot be cut inside.
        TypeError: If the data are of no known kind.

    Example:
        >>> from kerastl.data.catalog import load_dataset
        >>> data = load_dataset("digits").train.subset(range(70))
        >>> advice = advise(data, "MobileNet", alpha=0.25, image_size=32)
        >>> advice.quadrant, advice.recipe
        ('small and different', 'linear_probe')

    Reference:
        Karpathy, CS231n notes, Transfer learning, section "When and how to fine-tune?";
        Lee et al. (2023), Surgical fine-tuning, arXiv:2210.11466.
    """
    check_integer("seed", seed, 0)
    whole = training_images(data)
    sample = stratified_sample(whole, images=images, per_class=2, seed=seed)
    building = {
        "alpha": alpha,
        "image_size": image_size,
        "preprocessing": preprocessing,
        "seed": seed,
    }
    network = open_backbone(backbone, weights=weights, **building)
    size = network_size(network, image_size)
    if not isinstance(cuts, (list, tuple)):
        _check_inside(network)
    # Decoded once, for the probes and for the statistics of the pixels.
    store = PixelStore(sample, image_size=size, resize=resize)
    small = ImageSet(store.pixels(), sample.labels, sample.class_names, sample.name)
    smallest = min(count for count in sample.counts().values() if count)
    probing = {
        "groups": small,
        "folds": min(_FOLDS, smallest),
        "batch_size": batch_size,
        "seed": seed,
    }
    source = ImageSource(sample, PixelStore(small, image_size=size))
    profile, top = probe_depths(
        network, source, cuts=cuts, progress=progress, cache=cache, **probing
    )
    # Not finite, or the same for each image; the labels play no part here.
    as_features(top[:_GLANCE], np.arange(min(_GLANCE, len(top))) % 2)
    measured = _measurements(whole, small, profile, network)
    decision = decide(measured)
    fresh = network
    if measured.may_restart and isinstance(backbone, str) and weights is not None:
        fresh = open_backbone(backbone, weights=None, **building)
        random, _ = probe_depths(fresh, source, cuts=profile.cuts, **probing)
        measured = replace(measured, random_accuracy=max(random.accuracies))
        decision = decide(measured)
    if decision.recipe != "scratch":
        fresh = network
    return _advice(decision, measured, fresh, whole.name)


def _check_inside(network: keras.Model) -> None:
    """Raise unless some cut point leaves work to do on both sides."""
    below = multiplications_below(network)
    whole = max(*below.values(), 1)
    shares = (below[name] / whole for name in cut_points(network)[1:-1])
    if any(_EDGE <= share <= 1 - _EDGE for share in shares):
        return
    hint = "Its layers are joined past every point inside; take another backbone."
    fail("backbone", "one that can be cut inside", network.name, hint)


def _measurements(
    whole: ImageSet, sample: ImageSet, profile: DepthProfile, network: keras.Model
) -> Measurements:
    """The numbers that the decision needs."""
    counts = [count for count in whole.counts().values() if count]
    return Measurements(
        images=len(whole),
        classes=len(counts),
        chance=float(np.bincount(sample.labels).max() / len(sample)),
        cuts=profile.cuts,
        accuracies=profile.accuracies,
        standard_errors=profile.standard_errors,
        probed=len(sample),
        input_shift=input_shift(sample.images),
        pretrained=is_pretrained(network),
    )


def input_shift(pixels: np.ndarray) -> float:
    """How far the light, contrast or tint of images is from ImageNet's.

    The largest, over the three channels, of the distance of the mean in ImageNet's
    deviations, and of the doublings or halvings of the deviation.

    Args:
        pixels: `(n, h, w, 3)`, RGB 0-255.

    Example:
        >>> round(input_shift(np.zeros((1, 2, 2, 3), "uint8")), 2)
        8.0
    """
    # In single precision a sum over many pixels would drift.
    means = pixels.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    spreads = pixels.std(axis=(0, 1, 2), dtype=np.float64) / 255
    light = np.abs(means - IMAGENET_MEAN) / IMAGENET_DEVIATION
    contrast = np.abs(np.log2(np.maximum(spreads / IMAGENET_DEVIATION, 2.0**-8)))
    return float(max(light.max(), contrast.max()))


def _advice(
    decision: Decision, measured: Measurements, network: keras.Model, name: str
) -> Advice:
    """The decision in numbers of this network."""
    if decision.cut is not None:
        network = truncate(network, decision.cut)
    steps = -(-measured.images // 32)
    phases = recipe_phases(
        network,
        decision.recipe,
        learning_rate=decision.learning_rate,
        steps_per_epoch=steps,
    )
    epochs = [phase.epochs for phase in phases]
    if decision.unfreeze == "head":
        epochs = [max(epochs[0], min(-(-MINIMUM_STEPS // steps), _HEAD_EPOCHS))]
    unfreeze: str | int = decision.unfreeze
    if unfreeze == "upper half":
        unfreeze = max(len(model_blocks(network)) // 2, 1)
    return Advice(
        quadrant=decision.quadrant,
        cut=decision.cut,
        unfreeze=unfreeze,
        recipe=decision.recipe,
        learning_rate=phases[-1].learning_rate,
        epochs=tuple(epochs),
        augment=default_augment(name, decision.recipe) if decision.augments else None,
        reasons=decision_reasons(measured, decision),
        evidence=measured,
    )


#: Least deviation of a channel, as a share of the largest one.
_FLOOR = 1e-3


@dataclass(frozen=True, eq=False)
class AdvisedTraining:
    """What to give to `build_classifier` and `fine_tune`.

    Attributes:
        backbone: For `build_classifier`.
        recipe: For `fine_tune`, as all that follow.
        epochs: One number for each phase.
        learning_rate: Peak rate of the last phase.
        augment: Preset of `batches`, or None.
    """

    backbone: keras.Model
    recipe: str
    epochs: tuple[int, ...]
    learning_rate: float
    augment: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `fine_tune`: all but the backbone."""
        return {name: value for name, value in vars(self).items() if name != "backbone"}


def follow(
    advice: Advice,
    backbone: str | keras.Model,
    train: ImageSet,
    *,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    resize: str = "stretch",
    batch_size: int = 64,
    seed: int = 0,
    cache: FeatureCache | None = None,
) -> AdvisedTraining:
    """The backbone that the advice wants, and the settings to train it with.

    Where only a head trains, the backbone ends in a layer that standardises each
    channel by the training images: early features differ in scale by orders of
    magnitude, and a head would not learn from them in a few dozen steps.

    Args:
        advice: From `advise`, with the same backbone.
        backbone: As for `advise`.
        train: Training images, for the channels' statistics.
        alpha: As for `advise`, like all that follow.
        image_size: The same.
        weights: The same.
        preprocessing: The same.
        resize: The same.
        batch_size: The same.
        seed: The same.
        cache: The same.

    Returns:
        Backbone and settings.

    Raises:
        ValueError: If an argument does not fit the backbone.

    Example:
        >>> from kerastl.data.catalog import load_dataset
        >>> train = load_dataset("digits").train.subset(range(70))
        >>> options = {"alpha": 0.25, "image_size": 32}
        >>> advice = advise(train, "MobileNet", **options)
        >>> training = follow(advice, "MobileNet", train, **options)
        >>> [layer.name for layer in training.backbone.layers][-1]
        'standardise'
        >>> training.settings["recipe"]
        'linear_probe'
    """
    if advice.recipe == "scratch" and isinstance(backbone, str):
        weights = None
    network = open_backbone(
        backbone,
        alpha=alpha,
        image_size=image_size,
        weights=weights,
        preprocessing=preprocessing,
        seed=seed,
    )
    if advice.cut is not None:
        network = truncate(network, advice.cut)
    if advice.unfreeze == "head":
        size = network_size(network, image_size)
        store = PixelStore(train, image_size=size, resize=resize, memory_limit=0)
        top, source = feature_network(network), ImageSource(train, store)
        if cache is None:
            features = run_batches(top, store.rows, len(train), batch_size=batch_size)
        else:
            blocks = cache.outputs(top, source, batch_size=batch_size)
            features = np.concatenate(list(blocks))
        network = _standardised(network, features)
    return AdvisedTraining(
        backbone=network,
        recipe=advice.recipe,
        epochs=advice.epochs,
        learning_rate=advice.learning_rate,
        augment=advice.augment,
    )


def follow_advice(
    backbone: str | keras.Model,
    train: ImageSet,
    building: Mapping[str, Any],
    training: Mapping[str, Any],
    progress: Progress | None = None,
    cache: FeatureCache | None = None,
) -> tuple[keras.Model, dict[str, Any], Advice]:
    """What to build and run instead of `recipe="auto"`.

    Args:
        backbone: As for `advise`.
        train: Training images.
        building: The arguments of `build_classifier`; those that `advise` has are used.
        training: The arguments of `fine_tune`; those that are set, win over the advice.
        progress: Called with (done, total) images.
        cache: What is computed here and needed in training goes through it.

    Returns:
        Backbone, arguments of `fine_tune`, and the advice.
    """
    names = ("alpha", "image_size", "weights", "preprocessing", "resize")
    options = {name: building[name] for name in names}
    options |= {"seed": training["seed"], "cache": cache}
    # Rows of the batches of the training to come.
    options["batch_size"] = training["batch_size"]
    advice = advise(train, backbone, **options, progress=progress)
    with using_precision(building.get("precision")):
        made = follow(advice, backbone, train, **options)
    advised = {"epochs": made.epochs, "learning_rate": made.learning_rate}
    settings = {**training, "recipe": made.recipe}
    settings.update({k: v for k, v in advised.items() if training[k] is None})
    if training["augment"] == "auto":
        settings["augment"] = made.augment
    return made.backbone, settings, advice


def _standardised(network: keras.Model, features: np.ndarray) -> keras.Model:
    """The network, its averages over the image of mean 0 and deviation 1."""
    spread = features.std(axis=0, dtype=np.float64)
    # A channel that never changes must not be blown up on new images.
    spread = np.maximum(spread, _FLOOR * spread.max())
    layer = keras.layers.Normalization(
        mean=features.mean(axis=0, dtype=np.float64).tolist(),
        variance=(spread**2).tolist(),
        name="standardise",
    )
    return keras.Model(network.input, layer(network.output), name=network.name)
