"""How far training moved the features and the weights of each block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_integer
from kerastl.evaluation.similarity import linear_cka
from kerastl.evaluation.sweeps import plot_drift
from kerastl.inference.feature_layers import feature_columns
from kerastl.inference.feature_networks import feature_network
from kerastl.inference.pairs import StatePair, backbone_of, pair_states
from kerastl.models.blocks import blocks
from kerastl.models.freezing import leaf_layers
from kerastl.models.graph import cut_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FeatureDrift:
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
        columns = zip(
            self.blocks,
            self.cuts,
            self.cka,
            self.distances,
            self.cosines,
            self.weight_distances,
            strict=True,
        )
        return [dict(zip(names, column, strict=True)) for column in columns]

    def plot(self, *, axes: "Axes | None" = None) -> "Figure":
        """CKA and relative distance against the block.

        Args:
            axes: Matplotlib axes to draw on; None makes a new figure.
        """
        return plot_drift(self.blocks, self.cka, self.distances, axes=axes)

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
    progress: Callable[[int, int], None] | None = None,
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
    pair = pair_states(before, after)
    network = backbone_of(after)
    ends = block_ends(network)
    names = [layer.name for layer in network.operations]
    places = tuple(names.index(cut) for cut in ends.values())
    first, second = pair.features(
        images, at=places, batch_size=batch_size, progress=progress
    )
    widths = feature_columns(feature_network(network, at=list(ends.values()))).widths
    edges = np.cumsum(widths)[:-1]
    pieces = zip(
        np.split(first, edges, axis=1), np.split(second, edges, axis=1), strict=True
    )
    measured = [_compare(one, two) for one, two in pieces]
    moved = _weight_distances(pair, network)
    return FeatureDrift(
        blocks=tuple(ends),
        cuts=tuple(ends.values()),
        cka=tuple(row[0] for row in measured),
        distances=tuple(row[1] for row in measured),
        cosines=tuple(row[2] for row in measured),
        weight_distances=tuple(moved[block] for block in ends),
        images=len(first),
    )


def block_ends(network: keras.Model) -> dict[str, str]:
    """Block name -> the last cut inside it, where features can be taken.

    Args:
        network: Functional model without a head.

    Returns:
        From input to output; blocks that end in no cut are left out.
    """
    order = {layer.name: place for place, layer in enumerate(network.operations)}
    starts = {
        block: min(order[name] for name in members if name in order)
        for block, members in blocks(network).items()
        if any(name in order for name in members)
    }
    stops = [*list(starts.values())[1:], len(order)]
    legal = [name for name in cut_points(network) if _is_poolable(network, name)]
    found = {}
    for (block, start), stop in zip(starts.items(), stops, strict=True):
        # By place, not by membership: a sum written `x + y` is in no block's list.
        cuts = [name for name in legal if start <= order[name] < stop]
        if cuts:
            found[block] = cuts[-1]
    return found


def _is_poolable(network: keras.Model, name: str) -> bool:
    """Whether a layer's output is a feature map or a row, and not the image."""
    layer = next(each for each in network.operations if each.name == name)
    is_input = isinstance(layer, keras.layers.InputLayer)
    return not is_input and len(layer.output.shape) in (2, 4)


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


def _weight_distances(pair: StatePair, network: keras.Model) -> dict[str, float]:
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
