"""From advice to what is built and run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl.datasets.parallel import Progress
from kerastl.datasets.sets import ImageSet
from kerastl.inference.feature_networks import feature_network, open_backbone
from kerastl.inference.features import extract_features
from kerastl.models.graph import truncate
from kerastl.models.manifest import network_size
from kerastl.models.precision import using_precision
from kerastl.selection.advising import Advice, advise

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


def advised_training(
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
) -> AdvisedTraining:
    """The backbone that the advice wants, and the settings to train it with.

    Where only a head trains, the backbone ends in a layer that standardises each
    channel by the training images: early features differ in scale by orders of
    magnitude, and a head would not learn from them in a few dozen steps.

    Args:
        advice: From `advise`, with the same backbone.
        backbone: As for `advise`.
        train: Training images, for the channels' statistics.
        alpha: As for `advise`.
        image_size: As for `advise`.
        weights: As for `advise`.
        preprocessing: As for `advise`.
        resize: As for `advise`.
        batch_size: Images at a time.
        seed: Of random weights.

    Returns:
        Backbone and settings.

    Raises:
        ValueError: If an argument does not fit the backbone.

    Example:
        >>> from kerastl.datasets.catalog import load_dataset
        >>> from kerastl.selection.advising import advise
        >>> train = load_dataset("digits").train.subset(range(70))
        >>> options = {"alpha": 0.25, "image_size": 32}
        >>> advice = advise(train, "MobileNet", **options)
        >>> training = advised_training(advice, "MobileNet", train, **options)
        >>> [layer.name for layer in training.backbone.layers][-1]
        'standardise'
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
        features = extract_features(
            feature_network(network),
            train,
            image_size=network_size(network, image_size),
            resize=resize,
            batch_size=batch_size,
        )
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
) -> tuple[keras.Model, dict[str, Any], Advice]:
    """What to build and run instead of `recipe="auto"`.

    Args:
        backbone: As for `advise`.
        train: Training images.
        building: The arguments of `build_classifier`; those that `advise` has are used.
        training: The arguments of `fine_tune`; those that are set, win over the advice.
        progress: Called with (done, total) images.

    Returns:
        Backbone, arguments of `fine_tune`, and the advice.
    """
    names = ("alpha", "image_size", "weights", "preprocessing", "resize")
    options = {name: building[name] for name in names}
    options["seed"] = training["seed"]
    advice = advise(train, backbone, **options, progress=progress)
    with using_precision(building.get("precision")):
        made = advised_training(advice, backbone, train, **options)
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
