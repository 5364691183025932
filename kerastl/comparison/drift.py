"""Comparing a model before and after fine-tuning: drift of features, forgetting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.images import PixelStore
from kerastl.data.inputs import as_image_set, stratified_sample, training_images
from kerastl.data.sets import ImageSet
from kerastl.data.texts import as_text_set
from kerastl.evaluation.metrics import (
    PairedComparison,
    compare_classifiers,
    wilson_interval,
)
from kerastl.evaluation.plots import plot_drift
from kerastl.features.network import below_head, extract_features, feature_network
from kerastl.features.probe import loo_ridge
from kerastl.models.blocks import blocks, check_functional, cut_points
from kerastl.models.freezing import leaf_layers
from kerastl.models.layers import feature_columns
from kerastl.models.record import find_record, network_size
from kerastl.models.text_layers import find_tokens
from kerastl.training.watching import restore, snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def linear_cka(first: ArrayLike, second: ArrayLike) -> float:
    """Linear centred kernel alignment of two sets of features of the same images.

    1 if one is a rotated, scaled and shifted version of the other. With fewer images
    than features it is near 1 for any two networks: compare on many images.

    Args:
        first: Float `(n, d)`, one row an image.
        second: Float `(n, e)`, the same images in the same order.

    Returns:
        A number from 0 to 1: `||Y'X||² / (||X'X|| ||Y'Y||)` with centred columns and
        Frobenius norms, in float64; nan if either is the same for every image.

    Raises:
        ValueError: If the shapes do not fit or a number is not finite.

    Example:
        >>> features = np.array([[0.0, 1.0], [2.0, 3.0], [5.0, 1.0]])
        >>> linear_cka(features, 3.0 * features[:, ::-1] + 7.0)
        1.0

    Reference:
        Kornblith et al. (2019), Similarity of Neural Network Representations
        Revisited, arXiv:1905.00414, eq. 4 and table 1.
    """
    norm = np.linalg.norm
    one, two = _centred("first", first), _centred("second", second)
    if len(one) != len(two):
        fail("second", f"of {len(one)} rows, as `first`", two.shape)
    if min(one.shape[1], two.shape[1]) > len(one):
        # The same numbers through n by n products, where these are the smaller.
        one, two = one @ one.T, two @ two.T
        cross, own = float((one * two).sum()), norm(one) * norm(two)
    else:
        cross = float(np.square(two.T @ one).sum())
        own = norm(one.T @ one) * norm(two.T @ two)
    return min(float(cross / own), 1.0) if own > 0 else float("nan")


def _centred(name: str, features: ArrayLike) -> np.ndarray:
    """Float64 `(n, d)` with columns of mean zero and a largest number of one."""
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        expected = "numbers of shape (n, d), one row an image"
        fail(name, expected, f"{array.dtype} array of shape {array.shape}")
    rows = array.astype("float64")
    if not np.isfinite(rows).all():
        fail(name, "finite", f"array of shape {array.shape} with nan or inf")
    largest = np.abs(rows).max()
    rows = rows - rows.mean(axis=0)
    spread = np.abs(rows).max()
    # Below the rounding of the mean there is nothing left but noise.
    if spread <= 1e-12 * largest:
        return np.zeros_like(rows)
    return rows / spread


@dataclass(frozen=True, eq=False)
class _States:
    """A network before and after some training, weights in the order of `after`'s.

    `before` is another model of the same structure; None where only its weights are
    at hand.
    """

    after: keras.Model
    before: keras.Model | None
    start: list[np.ndarray]
    end: list[np.ndarray]

    @classmethod
    def of(cls, before: Any, after: keras.Model) -> "_States":
        """The two states; raises unless they are of one structure."""
        check_functional("after", after)
        model = None
        if isinstance(before, keras.Model):
            check_functional("before", before)
            start, model = snapshot(before), before
        elif isinstance(before, Sequence) and all(hasattr(a, "shape") for a in before):
            start = [np.array(array) for array in before]
        else:
            hint = "Take model.get_weights() before training."
            kinds = "a model or a list of arrays"
            fail("before", kinds, type(before).__name__, hint, TypeError)
        end = snapshot(after)
        if [array.shape for array in start] != [array.shape for array in end]:
            expected = f"of the structure of `after`, {len(end)} weights"
            fail("before", expected, f"{len(start)} weights, not of the same shapes")
        return cls(after, model, start, end)

    def features(
        self,
        images: Any,
        *,
        at: Sequence[int] | None = None,
        batch_size: int,
        progress: Progress | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Averaged features of the images `(n, d)`, before and after.

        They are taken at these places among the network's operations, side by side,
        or at its top. Progress tells of the second pass.
        """
        record = find_record(self.after)
        size, store = (), None
        if find_tokens(self.after) is not None:
            found = as_text_set(images)
        else:
            resize = record.resize if record else "stretch"
            size = record.image_size if record else _size(self.after, images)
            found = as_image_set(images, size, resize)
        if not len(found):
            fail("images", "at least one image", "none")
        if size:
            # Decoded once for both passes.
            store = PixelStore(found, image_size=size, resize=resize)

        def extract(model: keras.Model, progress: Progress | None) -> np.ndarray:
            network = _backbone_of(model)
            names = None if at is None else [network.operations[i].name for i in at]
            return extract_features(
                feature_network(network, at=names),
                found,
                image_size=size,
                store=store,
                batch_size=batch_size,
                progress=progress,
            )

        second = extract(self.after, progress)
        if self.before is not None:
            return extract(self.before, None), second
        try:
            restore(self.after, self.start)
            return extract(self.after, None), second
        finally:
            restore(self.after, self.end)


def _size(model: keras.Model, images: Any) -> tuple[int, int]:
    """The network's own size; of a network for any size, the images'."""
    pixels = images.images if isinstance(images, ImageSet) else images
    own = tuple(model.input_shape[1:3])
    if None in own and isinstance(pixels, np.ndarray) and pixels.ndim >= 3:
        return int(pixels.shape[1]), int(pixels.shape[2])
    return network_size(model)


def _backbone_of(model: keras.Model) -> keras.Model:
    """A classifier's backbone; any other model as it is."""
    return below_head(model) if find_record(model) is not None else model


@dataclass(frozen=True)
class FeatureDrift(Tabular):
    """Change of a network, block by block, from input to output.

    Attributes:
        blocks: Names of the blocks.
        cuts: The layer at the end of each, where its features were taken.
        cka: Linear CKA of the features before and after, 0 to 1; 1: the same up to
            rotation, scale and shift.
        distances: `||after - before|| / ||before||` of the features, 0: none moved.
        cosines: Mean over the images of the cosine between before and after.
        weight_distances: `||after - before|| / ||before||` of the block's weights,
            BatchNorm statistics included; 0 for a block without weights.
        images: Number of images.
    """

    blocks: tuple[str, ...]
    cuts: tuple[str, ...]
    cka: tuple[float, ...]
    distances: tuple[float, ...]
    cosines: tuple[float, ...]
    weight_distances: tuple[float, ...]
    images: int

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a block."""
        names = ("block", "cut", "cka", "distance", "cosine", "weight_distance")
        # The fields but the last, in their order.
        columns = zip(*list(vars(self).values())[:-1], strict=True)
        return [dict(zip(names, column, strict=True)) for column in columns]

    def plot(self, *, axes: "Axes | None" = None) -> "Figure":
        """CKA and relative distance against the block.

        Args:
            axes: Matplotlib axes to draw on; None makes a new figure.
        """
        return plot_drift(self.blocks, self.cka, self.distances, axes=axes)

    def _heading(self) -> str:
        return ""

    def __str__(self) -> str:
        """One line a block."""
        width = max(len("block"), *map(len, self.blocks))
        lines = [f"{'block'.ljust(width)}    CKA  distance  cosine  weights"]
        for row in self.rows():
            lines.append(
                f"{row['block'].ljust(width)}  {row['cka']:5.3f}  "
                f"{row['distance']:8.3f}  {row['cosine']:6.3f}  "
                f"{row['weight_distance']:7.3f}"
            )
        lines.append(f"features of {self.images} images, averaged over each map")
        return "\n".join(lines)


def feature_drift(
    before: keras.Model | Sequence[np.ndarray],
    after: keras.Model,
    images: Any,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> FeatureDrift:
    """How far fine-tuning moved what each block of a network makes of images.

    Compared are the features averaged over each map, as a head sees them. CKA needs
    several times more images than a block has features; with fewer it says 1. Each
    state takes one forward pass. Blocks that a shortcut runs past are left out.

    Args:
        before: A model before training, or its weights: `model.get_weights()`.
        after: The same network after it: a classifier, whose head is left out, or a
            backbone.
        images: Whatever `predict` takes: files, folders, arrays or an `ImageSet`; at
            least two.
        batch_size: Images at a time.
        progress: Called with (done, total) images of the second pass.

    Returns:
        A table: CKA, distance and cosine of the features, distance of the weights.

    Raises:
        ValueError: If the two are not of one structure, or there are no two images.
        TypeError: If an argument is of no known kind.

    Example:
        >>> import kerastl
        >>> model = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3))
        >>> drift = feature_drift(model.get_weights(), model, images.astype("uint8"))
        >>> drift.blocks[-1], drift.cka[-1], drift.distances[-1]
        ('block_13', 1.0, 0.0)

    Reference:
        Kornblith et al. (2019), Similarity of Neural Network Representations
        Revisited, arXiv:1905.00414 (CKA); Kumar et al. (2022), arXiv:2202.10054,
        section 3 (distortion of features).
    """
    check_integer("batch_size", batch_size, 1)
    pair = _States.of(before, after)
    network = _backbone_of(after)
    ends = _block_ends(network)
    names = [layer.name for layer in network.operations]
    places = [names.index(cut) for cut in ends.values()]
    first, second = pair.features(
        images, at=places, batch_size=batch_size, progress=progress
    )
    widths = feature_columns(feature_network(network, at=list(ends.values()))).widths
    edges = np.cumsum(widths)[:-1]
    pieces = zip(
        np.split(first, edges, axis=1), np.split(second, edges, axis=1), strict=True
    )
    cka, distances, cosines = zip(*(_compare(*each) for each in pieces), strict=True)
    moved = _weight_distances(pair, network)
    return FeatureDrift(
        blocks=tuple(ends),
        cuts=tuple(ends.values()),
        cka=cka,
        distances=distances,
        cosines=cosines,
        weight_distances=tuple(moved[block] for block in ends),
        images=len(first),
    )


def _block_ends(network: keras.Model) -> dict[str, str]:
    """Block name -> the last cut inside it, where features can be taken.

    From input to output; blocks that end in no cut are left out.
    """
    order = {layer.name: place for place, layer in enumerate(network.operations)}
    starts = {
        block: min(order[name] for name in members if name in order)
        for block, members in blocks(network).items()
        if any(name in order for name in members)
    }
    stops = [*list(starts.values())[1:], len(order)]
    layers = {layer.name: layer for layer in network.operations}
    # A feature map or a row, or vectors of tokens, and not the input itself.
    ranks = (2, 3) if find_tokens(network) is not None else (2, 4)
    legal = [
        name
        for name in cut_points(network)
        if not isinstance(layers[name], keras.layers.InputLayer)
        and not isinstance(layers[name].output, dict)
        and len(layers[name].output.shape) in ranks
    ]
    found = {}
    for (block, start), stop in zip(starts.items(), stops, strict=True):
        # By place, not by membership: a sum written `x + y` is in no block's list.
        cuts = [name for name in legal if start <= order[name] < stop]
        if cuts:
            found[block] = cuts[-1]
    return found


def _compare(one: np.ndarray, two: np.ndarray) -> tuple[float, float, float]:
    """CKA, relative distance and mean cosine of two states of features."""
    first, second = one.astype("float64"), two.astype("float64")
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = (first * second).sum(axis=1)
    # Two rows of zeros point the same way; a row of zeros and another do not.
    same = (first == second).all(axis=1)
    cosines = np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), same)
    distance = _ratio(np.linalg.norm(second - first), np.linalg.norm(first))
    return linear_cka(first, second), distance, float(cosines.mean())


def _weight_distances(pair: _States, network: keras.Model) -> dict[str, float]:
    """Relative distance of each block's weights."""
    layers = {layer.name: layer for layer in leaf_layers(network)}
    places = {id(weight): place for place, weight in enumerate(pair.after.weights)}
    found = {}
    for block, members in blocks(network).items():
        weights = [
            w for name in members if name in layers for w in layers[name].weights
        ]
        chosen = {places[id(weight)] for weight in weights}
        gap = size = 0.0
        for place in chosen:
            start = pair.start[place].astype("float64")
            gap += float(np.square(pair.end[place].astype("float64") - start).sum())
            size += float(np.square(start).sum())
        found[block] = _ratio(np.sqrt(gap), np.sqrt(size))
    return found


def _ratio(part: float, whole: float) -> float:
    """`part / whole`; nothing of nothing is 0."""
    if whole > 0:
        return float(part / whole)
    return 0.0 if part == 0 else float("inf")


# Similarities held at a time: 128 MiB.
_CELLS = 2**24


@dataclass(frozen=True)
class ForgettingReport(Tabular):
    """Features before and after training, probed on images of the source.

    Attributes:
        accuracy_before: Leave-one-out accuracy of a linear probe on the features
            before, 0 to 1.
        accuracy_after: The same after.
        interval_before: Wilson limits of the accuracy before.
        interval_after: Wilson limits of the accuracy after.
        comparison: The difference on the same images, its interval and p-value; its
            `a` is before, its `b` after.
        neighbour_agreement: Mean share of each image's nearest neighbours that stayed
            among them, 0 to 1.
        chance_agreement: What the agreement would be of two unrelated networks.
        cka: Linear CKA of the features before and after, 0 to 1.
        neighbours: How many neighbours were compared.
        images: Number of images.
    """

    accuracy_before: float
    accuracy_after: float
    interval_before: tuple[float, float]
    interval_after: tuple[float, float]
    comparison: PairedComparison
    neighbour_agreement: float
    chance_agreement: float
    cka: float
    neighbours: int
    images: int

    @property
    def forgotten(self) -> float:
        """Accuracy lost, in shares of 1; below 0 where it rose."""
        return self.accuracy_before - self.accuracy_after

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"features": name, "accuracy": accuracy, "interval": interval}
            for name, accuracy, interval in (
                ("before", self.accuracy_before, self.interval_before),
                ("after", self.accuracy_after, self.interval_after),
            )
        ]

    def _heading(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """Four lines."""
        rows = (
            ("before", self.accuracy_before, self.interval_before),
            ("after", self.accuracy_after, self.interval_after),
        )
        lines = [
            f"probe on the features {name:6}  {value:6.1%} ({low:.1%} to {high:.1%})"
            for name, value, (low, high) in rows
        ]
        lines.append(f"after - before: {self.comparison.summary}")
        lines.append(
            f"{self.neighbour_agreement:.0%} of the {self.neighbours} nearest "
            f"neighbours stayed (chance {self.chance_agreement:.0%}), "
            f"CKA {self.cka:.3f}, {self.images} images"
        )
        return "\n".join(lines)


def forgetting_report(
    before: keras.Model | Sequence[np.ndarray],
    after: keras.Model,
    source: Any,
    *,
    images: int = 2000,
    neighbours: int = 10,
    confidence: float = 0.95,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> ForgettingReport:
    """What training cost a network of its former skill, measured on its features.

    A new linear probe is fitted to the features of each state, so a lost head does not
    count, only lost features. Images of the target say nothing here: take images of the
    kind that the network was pre-trained on.

    Args:
        before: A model before training, or its weights: `model.get_weights()`.
        after: The same network after it: a classifier, whose head is left out, or a
            backbone.
        source: Images with one label each, at least two of each class, of any classes:
            an `ImageSet`, `Splits` (the training part), a folder, a data set's name or
            a pair of arrays `(images, labels)`.
        images: How many images to use at most, in the proportions of their classes;
            copies are left out.
        neighbours: How many nearest neighbours to compare, 1 to n - 1.
        confidence: Of the intervals, above 0 and below 1.
        batch_size: Images at a time.
        seed: Of the sample.
        progress: Called with (done, total) images of the second pass.

    Returns:
        Accuracies, their difference on the same images, and how many neighbours
        stayed: it prints in four lines.

    Raises:
        ValueError: If the two are not of one structure, the images have no labels or a
            class has one image, or a number is out of range.
        TypeError: If an argument is of no known kind.

    Example:
        >>> import kerastl
        >>> model = kerastl.build_backbone(
        ...     "MobileNet", alpha=0.25, image_size=32, weights="tiny"
        ... )
        >>> digits = kerastl.load_dataset("digits").train.subset(range(60))
        >>> report = forgetting_report(model.get_weights(), model, digits)
        >>> report.forgotten, report.neighbour_agreement
        (0.0, 1.0)

    Reference:
        Davari et al. (2022), Probing Representation Forgetting in Supervised and
        Unsupervised Continual Learning, arXiv:2203.13381, section 3; the probe is
        that of `loo_ridge`.
    """
    check_integer("neighbours", neighbours, 1)
    check_integer("batch_size", batch_size, 1)
    check_number("confidence", confidence, above=0.0, below=1.0)
    pair = _States.of(before, after)
    sample = stratified_sample(_labelled(source), images=images, per_class=2, seed=seed)
    total = len(sample)
    if neighbours >= total:
        fail("neighbours", f"at most {total - 1}, the other images", neighbours)
    first, second = pair.features(sample, batch_size=batch_size, progress=progress)
    probes = [loo_ridge(features, sample.labels) for features in (first, second)]
    one, two = (int(probe.correct.sum()) for probe in probes)
    decided = [p.classes[p.decisions.argmax(axis=1)] for p in probes]
    return ForgettingReport(
        accuracy_before=one / total,
        accuracy_after=two / total,
        interval_before=wilson_interval(one, total, confidence=confidence),
        interval_after=wilson_interval(two, total, confidence=confidence),
        comparison=compare_classifiers(sample.labels, *decided, confidence=confidence),
        neighbour_agreement=_neighbour_agreement(first, second, neighbours),
        chance_agreement=neighbours / (total - 1),
        cka=linear_cka(first, second),
        neighbours=neighbours,
        images=total,
    )


def _labelled(source: Any) -> ImageSet:
    """The images, with names for labels that have none."""
    if isinstance(source, (tuple, list)) and len(source) == 2:
        pixels, labels = (np.asarray(part) for part in source)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
            received = f"{labels.dtype} array of shape {labels.shape}"
            fail("source", "a pair of images and integer labels (n,)", received)
        classes, codes = np.unique(labels, return_inverse=True)
        source = ImageSet(pixels, codes, tuple(map(str, classes)))
    return training_images(source)


def _neighbour_agreement(
    first: np.ndarray, second: np.ndarray, neighbours: int
) -> float:
    """Mean share of each row's nearest neighbours that are the same in two spaces.

    By cosine similarity, an image never its own neighbour; of equally near ones the
    first in order count.
    """
    from sklearn.preprocessing import normalize

    total = len(first)
    # Rows of zeros stay.
    spaces = [normalize(rows.astype("float64")) for rows in (first, second)]
    share = max(_CELLS // total, 1)
    common = 0
    for start in range(0, total, share):
        chosen = np.arange(start, min(start + share, total))
        near = np.zeros((len(chosen), total), int)
        for rows in spaces:
            similar = rows[chosen] @ rows.T
            similar[np.arange(len(chosen)), chosen] = -np.inf
            order = np.argsort(-similar, axis=1, kind="stable")[:, :neighbours]
            near[np.arange(len(chosen))[:, None], order] += 1
        common += int((near == 2).sum())
    return common / (neighbours * total)
