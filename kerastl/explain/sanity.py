"""Whether maps follow what a network has learnt, and whether they meet the object."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.explain.attribution import Explainer, Explanation, Settings
from kerastl.models.blocks import blocks
from kerastl.models.freezing import leaf_layers
from kerastl.tasks.task import bind_known
from kerastl.training.watching import restore, snapshot


@dataclass(frozen=True, eq=False)
class SanityReport(Tabular):
    """How alike maps stay while weights are drawn anew, from the top downwards.

    Attributes:
        method: What made the maps.
        stages: What was drawn anew last, from the head down; all above it too.
        correlations: Spearman correlation of the magnitudes with those of the trained
            network, mean over the images `(seeds, stages)`; 0 of a map without form.
        limit: Above it, at the last stage, the method fails.
        images: Number of images.
    """

    method: str
    stages: tuple[str, ...]
    correlations: np.ndarray
    limit: float
    images: int

    @property
    def passed(self) -> bool:
        """Whether the maps of a network that knows nothing are others."""
        return bool(self.correlations[:, -1].max() <= self.limit)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a stage: mean, lowest and highest over the seeds."""
        columns = self.correlations.T
        return [
            {
                "drawn_anew_down_to": stage,
                "correlation": float(found.mean()),
                "lowest": float(found.min()),
                "highest": float(found.max()),
            }
            for stage, found in zip(self.stages, columns, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        plain = {"method": self.method, "images": self.images, "limit": self.limit}
        return {**plain, "passed": self.passed, "stages": self.rows()}

    def _heading(self) -> str:
        return str(self).splitlines()[-1]

    def __str__(self) -> str:
        """One line a stage, and what they say."""
        width = max(map(len, self.stages))
        lines = [f"{self.method}, {self.images} images, {len(self.correlations)} seeds"]
        for row in self.rows():
            lines.append(
                f"{row['drawn_anew_down_to']:<{width}}  {row['correlation']:6.3f}"
                f"  ({row['lowest']:.3f} to {row['highest']:.3f})"
            )
        verdict = (
            "passed: without what was learnt the maps are others"
            if self.passed
            else "failed: the maps hardly change when all that was learnt is lost"
        )
        return "\n".join([*lines, verdict])


def sanity_check(
    model: keras.Model,
    images: Any,
    *,
    method: str = "hirescam",
    target: Any = None,
    at: str | None = None,
    stages: int = 4,
    seeds: int = 2,
    limit: float = 0.5,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> SanityReport:
    """Whether a method's maps depend on what the network has learnt.

    Kernels are drawn anew, the head's first, then block after block downwards, and the
    maps compared with those of the trained network. A method whose maps stay draws what
    is in the image, as an edge detector does, and explains nothing: `"edges"` is one,
    and must fail. The model has its own weights back afterwards, bit for bit.

    Args:
        model: As `explain` takes it.
        images: The same.
        method: A method of `explain`.
        target: The same; None: what the trained network predicts, throughout.
        at: As for `explain`.
        stages: Steps below the head, at most one a block.
        seeds: How often kernels are drawn.
        limit: Correlation at the last stage, 0 to 1, above which the method fails. A
            convention, not a derived number: look at the whole column.
        batch_size: Images at a time.
        progress: Called with (done, total) of the maps that are compared.

    Returns:
        A `SanityReport`.

    Raises:
        ValueError: If an argument does not fit, or the model cannot be explained so.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone(
        ...     "MobileNet", alpha=0.25, image_size=64, weights="tiny"
        ... )
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
        >>> report = kerastl.explain.sanity_check(
        ...     model, pixels.astype("uint8"), method="edges", stages=1, seeds=1
        ... )
        >>> report.correlations.tolist(), report.passed
        ([[1.0, 1.0]], False)

    Reference:
        Adebayo et al. (2018), Sanity Checks for Saliency Maps, arXiv:1810.03292,
        section 3.1 (cascading randomisation).
    """
    check_integer("stages", stages, 1)
    check_integer("seeds", seeds, 1)
    check_number("limit", limit, 0.0, 1.0)
    settings = Settings(method, at, batch_size=batch_size)
    explainer = Explainer(model, images, settings)
    trained = explainer.explain(target)
    groups = list(_groups(model, stages))
    start, found = snapshot(model), np.zeros((seeds, len(groups)))
    try:
        for seed in range(seeds):
            restore(model, start)
            generator = np.random.default_rng(seed)
            for place, (_, layers) in enumerate(groups):
                _draw(layers, generator)
                made = explainer.explain(trained.targets)
                found[seed, place] = _similarity(trained, made)
                if progress is not None:
                    progress(seed * len(groups) + place + 1, seeds * len(groups))
    finally:
        restore(model, start)
    names = tuple(name for name, _ in groups)
    return SanityReport(method, names, found, float(limit), len(trained))


def _groups(
    model: keras.Model, stages: int
) -> Iterator[tuple[str, list[keras.layers.Layer]]]:
    """The head, then the blocks from the top, in so many stages: name, layers."""
    head = bind_known(model).head_layers
    layers = {layer.name: layer for layer in leaf_layers(model)}
    yield "head", [layers[name] for name in head if name in layers]
    members = {
        name: [layers[part] for part in parts if part in layers]
        for name, parts in blocks(model, exclude=head, nested=True).items()
    }
    kept = [name for name, parts in members.items() if any(p.weights for p in parts)]
    for chosen in np.array_split(kept[::-1], min(stages, len(kept))):
        inside = [layer for name in chosen for layer in members[str(name)]]
        yield str(chosen[-1]), inside


def _draw(layers: list[keras.layers.Layer], generator: np.random.Generator) -> None:
    """Kernels anew, of the mean and spread that they had; vectors stay.

    So the activations keep their size, and nothing of what was learnt.
    """
    for layer in layers:
        for weight in layer.weights:
            if len(weight.shape) > 1:
                old = keras.ops.convert_to_numpy(weight)
                drawn = generator.normal(old.mean(), old.std(), old.shape)
                weight.assign(drawn.astype(old.dtype))


def _similarity(one: Explanation, other: Explanation) -> float:
    """Mean over the images of the rank correlation of two maps' magnitudes."""
    from scipy.stats import spearmanr

    # At the cut, not enlarged: pixels between two cells say nothing of their own.
    at_cells = one.raw.ndim == 3
    pairs = [(e.raw if at_cells else e.maps) for e in (one, other)]
    found = []
    for pair in zip(*pairs, strict=True):
        first, second = (np.abs(values).ravel() for values in pair)
        formless = np.ptp(first) == 0 or np.ptp(second) == 0
        found.append(0.0 if formless else float(spearmanr(first, second).statistic))
    return float(np.mean(found))


@dataclass(frozen=True, eq=False)
class MassInside:
    """How much of each map lies on the object.

    Attributes:
        mass: Share of what speaks for the class that lies inside `(n,)`, 0 to 1; nan
            where nothing speaks for it.
        area: Share of the image that the object covers `(n,)`: what a map that knows
            nothing would have.
        hit: Whether the largest value lies inside `(n,)`.
    """

    mass: np.ndarray
    area: np.ndarray
    hit: np.ndarray

    def __str__(self) -> str:
        """One line."""
        return (
            f"{np.nanmean(self.mass):.0%} of the mass on the object, which covers "
            f"{self.area.mean():.0%}; the largest value is on it in "
            f"{int(self.hit.sum())} of {len(self.hit)} images"
        )


def mass_inside(explanation: Explanation | ArrayLike, masks: ArrayLike) -> MassInside:
    """Whether the network looks at the object, where it is known: on drawn shapes, say.

    Args:
        explanation: What `explain` gave, or maps `(n, height, width)`.
        masks: Where the object is, `(n, h, w)`: booleans, or numbers above 0, of the
            whole image; brought to the maps' size by the nearest pixel.

    Returns:
        A `MassInside`.

    Raises:
        ValueError: If there is not one mask an image, or one is empty.

    Example:
        >>> maps = np.array([[[3.0, 1.0], [-9.0, 0.0]]])
        >>> found = mass_inside(maps, [[[True, False], [False, False]]])
        >>> found.mass.tolist(), found.area.tolist(), found.hit.tolist()
        ([0.75], [0.25], [True])

    Reference:
        Zhang et al. (2016), Top-down Neural Attention by Excitation Backprop,
        arXiv:1608.00507, section 4.2 (the pointing game).
    """
    maps = getattr(explanation, "maps", explanation)
    positive = np.maximum(np.asarray(maps, np.float64), 0.0)
    inside = np.asarray(masks) > 0
    if positive.ndim != 3 or inside.ndim != 3 or len(inside) != len(positive):
        expected = f"of shape ({len(positive)}, height, width), one an image"
        fail("masks", expected, inside.shape)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(positive.shape[1:], inside.shape[1:], strict=True)
    )
    inside = inside[:, rows[:, None], columns]
    empty = np.flatnonzero(~inside.any(axis=(1, 2)))
    if empty.size:
        fail("masks", "with an object in each image", f"none in image {empty[0]}")
    total = positive.sum(axis=(1, 2))
    mass = np.divide(
        (positive * inside).sum(axis=(1, 2)),
        total,
        np.full(len(total), np.nan),
        where=total > 0,
    )
    largest = positive.reshape(len(positive), -1).argmax(axis=1)
    hit = inside.reshape(len(inside), -1)[np.arange(len(inside)), largest]
    return MassInside(mass, inside.mean(axis=(1, 2)), hit & (total > 0))
