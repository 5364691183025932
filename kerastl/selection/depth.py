"""How deep to take features: the accuracy of a probe at several cuts of a backbone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.batches import only_or_all
from kerastl.data.images import PixelStore
from kerastl.data.inputs import training_images
from kerastl.data.sets import ImageSet, Splits, integer_codes
from kerastl.data.sources import ImageSource, Source
from kerastl.features.cache import FeatureCache
from kerastl.features.network import feature_network, open_backbone, run_batches
from kerastl.features.probe import as_features
from kerastl.features.sources import make_source
from kerastl.models.blocks import blocks, cut_points, multiplications_below, truncate
from kerastl.models.layers import feature_columns
from kerastl.models.record import network_size
from kerastl.models.text_backbones import is_text_network
from kerastl.models.weights import weights_digest

#: Ridge penalties for standardised features: from none to a probe of the class means.
ALPHAS = tuple(float(alpha) for alpha in np.logspace(-1, 6, 15))

_COLUMNS = ("cut", "features", "computation", "accuracy", "standard_error")


@dataclass(frozen=True)
class DepthProfile(Tabular):
    """Accuracy of a linear probe by depth.

    Attributes:
        cuts: Names of the cut points, from input to output.
        accuracies: Mean accuracy over the folds at each, 0 to 1.
        standard_errors: Of these means, over the folds. The folds share training
            images, so the truth is somewhat larger.
        widths: Number of features at each.
        computation: Multiplications up to each, as a share of the whole backbone's.
        chosen: The earliest cut within one standard error of the best.
        folds: Number of folds.
    """

    cuts: tuple[str, ...]
    accuracies: tuple[float, ...]
    standard_errors: tuple[float, ...]
    widths: tuple[int, ...]
    computation: tuple[float, ...]
    chosen: str
    folds: int

    @property
    def best(self) -> str:
        """The cut of highest accuracy; the earliest of equals."""
        return self.cuts[int(np.argmax(self.accuracies))]

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            dict(zip(_COLUMNS, row, strict=True))
            for row in zip(
                self.cuts,
                self.widths,
                self.computation,
                self.accuracies,
                self.standard_errors,
                strict=True,
            )
        ]

    def _heading(self) -> str:
        return f"chosen: {self.chosen}"

    def __str__(self) -> str:
        """One line a cut, the chosen one marked."""
        width = max(len("cut"), *map(len, self.cuts))
        lines = [f"  {'cut'.ljust(width)}  features  computation  accuracy"]
        for row in self.to_rows():
            cut, features, share, accuracy, error = row.values()
            mark = "*" if cut == self.chosen else " "
            lines.append(
                f"{mark} {cut.ljust(width)}  {features:8,}  {share:11.0%}  "
                f"{accuracy:.1%} +- {error:.1%}"
            )
        lines.append(
            f"* the earliest within one standard error of the best, {self.folds} folds"
        )
        return "\n".join(lines)


def depth_profile(
    backbone: str | keras.Model,
    data: ImageSet | Splits | str | Path,
    *,
    cuts: int | Sequence[str] = 6,
    folds: int = 5,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    resize: str = "stretch",
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> DepthProfile:
    """How well a linear probe does on features from early to late in a backbone.

    On few images unlike those of the pre-training, earlier features are often the
    better ones. All cuts come from one forward pass. Of splits only the training part
    is used, so that nothing is chosen by the images that judge it.

    Args:
        backbone: Name in `list_backbones()`, a backbone, or a classifier, whose head is
            left out.
        data: Images with one label each, at least `folds` of each class: an `ImageSet`,
            `Splits`, a folder (see `load_images`) or a data set's name. For a network
            of texts a pair of its inputs, by name, and labels from 0.
        cuts: How many cut points, at least 2, spread evenly over the computation, at
            ends of blocks, the top among them; or the names of some.
        folds: Folds of the stratified cross-validation, at least 2.
        alpha: Width of a MobileNet, for a backbone given by name.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's.
        weights: For a backbone given by name: see `build_backbone`.
        preprocessing: For a foreign model: see `build_classifier`.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time.
        seed: Of the folds, and of a backbone with `weights=None`.
        progress: Called with (done, total) images.

    Returns:
        Accuracies, their standard errors, and the cut to take: it prints as a table.
        The probe is ridge regression on the standardised averages of each feature map,
        its penalty chosen inside each fold. Copies of an image stay in one fold.

    Raises:
        ValueError: If an argument does not fit, a class has too few images, or the
            features are not finite or the same for every image.
        TypeError: If the data are of no known kind.

    Example:
        >>> from kerastl.data.catalog import load_dataset
        >>> data = load_dataset("digits").train.subset(range(90))
        >>> profile = depth_profile("MobileNet", data, alpha=0.25, image_size=32)
        >>> len(profile.cuts), profile.cuts[-1]
        (6, 'conv_pw_13_relu')

    Reference:
        Azizpour et al. (2015), Factors of Transferability for a Generic ConvNet
        Representation, arXiv:1406.5774. One standard error: Hastie et al. (2009), The
        Elements of Statistical Learning, section 7.10.1.
    """
    check_integer("folds", folds, 2)
    check_integer("seed", seed, 0)
    options = {"cuts": cuts, "folds": folds, "batch_size": batch_size, "seed": seed}
    if is_text_network(backbone):
        network = open_backbone(backbone)
        source = make_source(network, data, "data")
        _check_counts(dict(enumerate(np.bincount(source.targets).tolist())), folds)
        digests = [_digest(source, place) for place in range(len(source))]
        given = {"digests": digests, "progress": progress, **options}
        return probe_depths(network, source, **given)[0]
    images = _labelled(data, folds)
    network = open_backbone(
        backbone,
        alpha=alpha,
        image_size=image_size,
        weights=weights,
        preprocessing=preprocessing,
        seed=seed,
    )
    size = network_size(network, image_size)
    store = PixelStore(images, image_size=size, resize=resize, memory_limit=0)
    return probe_depths(
        network,
        ImageSource(images, store),
        digests=images.digests().tolist(),
        progress=progress,
        **options,
    )[0]


def _digest(source: Source, place: int) -> str:
    """What stands for the content of one row."""
    rows = source.rows(np.array([place]))
    return " ".join(weights_digest([rows[name]]) for name in sorted(rows))


def probe_depths(
    network: keras.Model,
    source: Source,
    *,
    digests: Sequence[str],
    cuts: int | Sequence[str],
    folds: int,
    batch_size: int,
    seed: int,
    progress: Progress | None = None,
    cache: FeatureCache | None = None,
) -> tuple[DepthProfile, np.ndarray]:
    """`depth_profile` of a network at hand, and its features at the top.

    Args:
        network: From 0-255 pixels to features.
        source: Images, or ids of texts, with one label each.
        digests: What stands for the content of each: copies stay in one fold.
        cuts: As for `depth_profile`, like the next four.
        folds: The same.
        batch_size: The same.
        seed: The same.
        progress: The same.
        cache: What keeps the activations at the cuts for those who come later.
    """
    names, shares = _choose_cuts(network, cuts)
    joined = feature_network(network, at=names)
    widths = feature_columns(joined).widths
    options = {"batch_size": batch_size, "progress": progress}
    if cache is None:

        def rows(indices: np.ndarray) -> Any:
            return only_or_all(source.rows(indices))

        features = run_batches(joined, rows, len(source), **options)
    else:
        features = cache.probe(network, joined.output, names, source, **options)
    labels = source.targets
    # Refuses NaN, and a network to which every image looks the same.
    as_features(features, labels)
    parts = np.split(features, np.cumsum(widths)[:-1], axis=1)
    split = _folds(digests, labels, folds, seed)
    scores = np.array([_probe(part, labels, split) for part in parts])
    means = scores.mean(axis=1)
    errors = scores.std(axis=1, ddof=1) / math.sqrt(folds)
    best = int(np.argmax(means))
    chosen = int(np.argmax(means >= means[best] - errors[best]))
    profile = DepthProfile(
        cuts=names,
        accuracies=tuple(means.tolist()),
        standard_errors=tuple(errors.tolist()),
        widths=widths,
        computation=shares,
        chosen=names[chosen],
        folds=folds,
    )
    return profile, parts[-1]


def _labelled(data: Any, folds: int) -> ImageSet:
    """The images to profile on, with enough of each class."""
    data = training_images(data)
    _check_counts(data.counts(), folds)
    return data


def _check_counts(counts: Mapping[Any, int], folds: int) -> None:
    """Raise unless there are two classes, with an example for each fold."""
    counts = {name: n for name, n in counts.items() if n}
    if len(counts) < 2:
        fail("data", "images of at least two classes", list(counts))
    short = {name: n for name, n in counts.items() if n < folds}
    if short:
        hint = "Take fewer folds, or leave the class out."
        fail("data", f"at least {folds} images of each class", short, hint)


def _choose_cuts(
    network: keras.Model, cuts: int | Sequence[str]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names of the cuts from input to output, and the computation up to each."""
    legal, below = cut_points(network), multiplications_below(network)
    if isinstance(cuts, str) or not isinstance(cuts, Sequence):
        check_integer("cuts", cuts, 2)
        ends = _block_ends(network, legal)
        names = _spread([below[end] for end in ends], cuts)
        names = [ends[i] for i in names]
    else:
        if len(set(cuts)) < max(2, len(cuts)):
            fail("cuts", "different cut points, at least two", cuts)
        for cut in cuts:
            truncate(network, cut)
        names = sorted(cuts, key=legal.index)
    whole = max(below[legal[-1]], 1)
    return tuple(names), tuple(below[name] / whole for name in names)


def _block_ends(network: keras.Model, legal: tuple[str, ...]) -> list[str]:
    """The last cut point of each block, and the last of all."""
    found = {legal[-1]}
    for members in blocks(network).values():
        inside = [name for name in members if name in legal]
        if inside and inside[-1] != legal[0]:
            found.add(inside[-1])
    return sorted(found, key=legal.index)


def _spread(costs: list[int], count: int) -> list[int]:
    """Positions of at most `count` costs, evenly apart, the last among them."""
    left = list(range(len(costs)))
    chosen = [left.pop()]
    for step in range(min(count, len(costs)) - 1, 0, -1):
        target = costs[-1] * step / count
        nearest = min(left, key=lambda i: abs(costs[i] - target))
        left.remove(nearest)
        chosen.append(nearest)
    return sorted(chosen)


def _folds(
    digests: Sequence[str], labels: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds; copies of an image lie in one."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    groups = integer_codes(list(digests))
    rows, options = np.zeros((len(labels), 1)), {"shuffle": True, "random_state": seed}
    if len(np.unique(groups)) == len(labels):
        return list(StratifiedKFold(folds, **options).split(rows, labels))
    grouped = StratifiedGroupKFold(folds, **options)
    return list(grouped.split(rows, labels, groups))


def _probe(
    features: np.ndarray,
    labels: np.ndarray,
    split: list[tuple[np.ndarray, np.ndarray]],
) -> list[float]:
    """Accuracy in each fold."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    for train, test in split:
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))
        probe.fit(features[train], labels[train])
        scores.append(float(probe.score(features[test], labels[test])))
    return scores
