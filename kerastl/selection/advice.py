"""What to train, and how much of it: a measured answer with its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.images import PixelStore
from kerastl.data.inputs import stratified_sample, training_images
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.sources import ImageSource
from kerastl.data.texts import TextSet
from kerastl.features.cache import FeatureCache
from kerastl.features.network import feature_network, open_backbone, run_batches
from kerastl.features.probe import as_features
from kerastl.models.backbones import using_precision
from kerastl.models.blocks import cut_points, multiplications_below, truncate
from kerastl.models.freezing import model_blocks
from kerastl.models.record import is_pretrained, network_size
from kerastl.models.registry import IMAGENET_DEVIATION, IMAGENET_MEAN
from kerastl.models.weights import is_model_file
from kerastl.selection.decision import Decision, Measurements, decide, decision_reasons
from kerastl.selection.depth import DepthProfile, probe_depths
from kerastl.training.recipes import MINIMUM_STEPS, default_augment, recipe_phases

_FOLDS = 5
#: A cut with a smaller share of the work on one side is none inside.
_EDGE = 0.05
#: Images that show whether a network is broken.
_GLANCE = 8
#: A head on features computed once costs little: more epochs than a recipe's own.
_HEAD_EPOCHS = 60


@dataclass(frozen=True, eq=False)
class Advice(Tabular):
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

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"what": name, "advised": value}
            for name, value in self.to_dict().items()
            if name not in ("reasons", "evidence")
        ]

    def _heading(self) -> str:
        return "\n".join(f"- {reason}" for reason in self.reasons)

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
    if isinstance(whole, TextSet):
        hint = "For texts take `tune`, or train two recipes and compare them."
        fail("data", "images: advice is measured on pixels", "texts", hint)
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
        "digests": small.digests().tolist(),
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
    named = isinstance(backbone, str) and not is_model_file(backbone)
    if measured.may_restart and named and weights is not None:
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
    named = isinstance(backbone, str) and not is_model_file(backbone)
    if advice.recipe == "scratch" and named:
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
