"""Which backbone to start from: one forward pass each, then scores of its features."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl.datasets.parallel import Progress
from kerastl.datasets.sets import ImageSet, Splits
from kerastl.evaluation.pareto import plot_pareto
from kerastl.selection.candidates import read_candidates
from kerastl.selection.measuring import BackboneReader
from kerastl.selection.ranking_table import ranking_text
from kerastl.selection.ridge import LooRidge, loo_ridge
from kerastl.selection.sampling import stratified_sample, training_images
from kerastl.selection.scores import SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROBE = "linear_probe"
#: `nleep` fits a mixture of Gaussians and takes longer than a small network's pass.
DEFAULT_SCORES = (PROBE, "knn", "logme", "h_score", "gbc")


@dataclass(frozen=True, eq=False)
class RankedBackbone:
    """What one forward pass told about a backbone.

    Attributes:
        name: What the candidate was called.
        image_size: `(height, width)` in pixels.
        features: Numbers an image.
        parameters: Weights of the network.
        multiplications: By weights, for one image.
        seconds: An image, in the same pass, on this machine; compiling left out.
        weight_bytes: Of all weights.
        activation_bytes: Of the feature maps alive at once, float32, for one image.
        scores: Score name to value; higher is better for each.
        ranks: Score name to rank, 1 the best; equal scores share one.
        standard_error: Of the linear probe's accuracy.
        as_good: Whether the probe's accuracy lies within one standard error of the
            best one's; the error is that of the difference on the same images.
    """

    name: str
    image_size: tuple[int, int]
    features: int
    parameters: int
    multiplications: int
    seconds: float
    weight_bytes: int
    activation_bytes: int
    scores: dict[str, float]
    ranks: dict[str, int]
    standard_error: float
    as_good: bool

    def to_dict(self) -> dict[str, Any]:
        """One flat row: scores under their names, ranks under `rank_` and the name."""
        row = {key: value for key, value in vars(self).items() if key != "ranks"}
        scores = row.pop("scores")
        ranks = {f"rank_{name}": rank for name, rank in self.ranks.items()}
        return {**row, **scores, **ranks}


@dataclass(frozen=True, eq=False)
class BackboneRanking:
    """Backbones from the best linear probe to the worst; it prints as a table.

    Attributes:
        rows: One for each backbone that could be measured, best first.
        scores: Names of the scores.
        agreement: Score to score to weighted Kendall tau of their orders: 1 the same,
            -1 the reverse, disagreement at the top weighing most; nan for one
            backbone, or where a score tells none apart.
        unavailable: Candidate to the reason why it was not measured.
        images: Images that the backbones were measured on.
        classes: Number of their classes.

    Reference:
        Vigna (2015), A weighted correlation index for rankings with ties.
    """

    rows: tuple[RankedBackbone, ...]
    scores: tuple[str, ...]
    agreement: dict[str, dict[str, float]]
    unavailable: dict[str, str]
    images: int
    classes: int

    @property
    def best(self) -> str:
        """Name of the backbone with the best linear probe."""
        return self.rows[0].name

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary for each backbone, for CSV or JSON."""
        return [row.to_dict() for row in self.rows]

    def plot(self, *, axes: "Axes | None" = None) -> "Figure":
        """The linear probe's accuracy against seconds an image: see `plot_pareto`."""
        return plot_pareto(
            [row.name for row in self.rows],
            [row.seconds for row in self.rows],
            [row.scores[PROBE] for row in self.rows],
            errors=[row.standard_error for row in self.rows],
            axes=axes,
        )

    def __str__(self) -> str:
        """A table, with what to make of it."""
        return ranking_text(self)


def rank_backbones(
    data: ImageSet | Splits | str | Path,
    candidates: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "imagenet",
    scores: Sequence[str] | None = None,
    images: int = 1000,
    seed: int = 0,
    resize: str = "stretch",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> BackboneRanking:
    """Backbones by what a linear probe makes of their features on your images.

    A score of frozen features says how good a start is, not how good the end: among
    candidates marked as equally good take the fastest. Of splits only the training
    part is used, so that nothing is chosen by the images that judge it.

    Args:
        data: Images with one label each, at least two of each class: an `ImageSet`,
            `Splits`, a folder (see `load_images`) or a data set's name.
        candidates: Names such as `"ResNet50"` or
            `"MobileNet:alpha=0.25,weights=tiny,image_size=96"`, backbones and
            classifiers (`keras.Model`), or a mapping of labels to either. None: the
            bundled ones, and those whose ImageNet weights are in Keras's folder.
        image_size: Pixels, for names that do not say it; None: each network's own.
        weights: For names that do not say theirs: see `build_backbone`.
        scores: Names out of `"linear_probe"` (always there), `"knn"`, `"logme"`,
            `"h_score"`, `"gbc"` and `"nleep"`; None: all but `"nleep"`, which is slow.
        images: Most images to measure on, drawn in the proportions of the classes.
        seed: Of that draw, and of backbones with random weights.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time, at most; the time an image depends on it.
        progress: Called with (done, total) images over all backbones.

    Returns:
        The ranking: it prints as a table.

    Raises:
        ValueError: If an argument or the data do not fit, or no candidate could be
            measured. One that cannot, as its weights are not there, is listed.
        TypeError: If the data or a candidate are of no known kind.

    Example:
        >>> from kerastl.datasets.catalog import load_dataset
        >>> data = load_dataset("digits").train.subset(range(90))
        >>> ranking = rank_backbones(
        ...     data, ["MobileNet:alpha=0.25", "MobileNet:alpha=0.25,weights=none"],
        ...     weights="tiny", image_size=32
        ... )
        >>> ranking.best
        'MobileNet:alpha=0.25'

    Reference:
        Renggli et al. (2022), Which model to transfer?, arXiv:2010.06402; no score is
        best everywhere: Agostinelli et al. (2022), arXiv:2204.01403.
    """
    check_integer("batch_size", batch_size, 1)
    names = _score_names(scores)
    defaults = {"image_size": image_size, "weights": weights}
    chosen = read_candidates(candidates, defaults)
    whole = training_images(data)
    sample = stratified_sample(whole, images=images, per_class=2, seed=seed)
    reader = BackboneReader(sample, resize=resize, batch_size=batch_size)
    measured: list[tuple[dict[str, Any], LooRidge]] = []
    unavailable: dict[str, str] = {}
    for number, candidate in enumerate(chosen):
        shown = _shifted(progress, number * len(sample), len(chosen) * len(sample))
        try:
            backbone = candidate.open(seed)
        # Weights that are neither here nor to be had, or do not fit.
        except (ValueError, OSError) as error:
            unavailable[candidate.label] = _one_line(error)
            continue
        row, features = reader.measure(candidate, backbone, shown)
        try:
            row["scores"], probe = _scored(features, sample.labels, names)
        # Features that are not finite, or all the same.
        except ValueError as error:
            unavailable[candidate.label] = _one_line(error)
            continue
        measured.append((row, probe))
    if not measured:
        reasons = dict.fromkeys(unavailable.values())
        fail("candidates", "usable, at least one", list(unavailable), " ".join(reasons))
    rows = _ranked(measured, names)
    classes = len(np.unique(sample.labels))
    agreement = _agreement(rows, names)
    return BackboneRanking(rows, names, agreement, unavailable, len(sample), classes)


def _score_names(scores: Sequence[str] | None) -> tuple[str, ...]:
    """The linear probe, then the others in the order given."""
    if isinstance(scores, str):
        fail("scores", "a sequence of names", scores, error=TypeError)
    names = DEFAULT_SCORES if scores is None else tuple(scores)
    for name in names:
        check_choice("scores", name, tuple(SCORES))
    return tuple(dict.fromkeys((PROBE, *names)))


def _scored(
    features: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> tuple[dict[str, float], LooRidge]:
    """Each score of one backbone's features, and the probe behind the first."""
    from threadpoolctl import threadpool_limits

    # These matrices gain little by a second thread; where other work has the cores,
    # threads that wait for each other take up to a hundred times as long.
    with threadpool_limits(1, user_api="blas"):
        probe = loo_ridge(features, labels)
        others = {n: SCORES[n](features, labels) for n in names if n != PROBE}
    return {PROBE: probe.accuracy, **others}, probe


def _ranked(
    measured: list[tuple[dict[str, Any], LooRidge]], names: tuple[str, ...]
) -> tuple[RankedBackbone, ...]:
    """Rows from the best probe to the worst, with ranks; equals stay in order."""
    measured = sorted(measured, key=lambda pair: -pair[1].accuracy)
    best = measured[0][1]
    rows = []
    for row, probe in measured:
        scores = row["scores"]
        ranks = {
            name: 1 + sum(other["scores"][name] > scores[name] for other, _ in measured)
            for name in names
        }
        error, near = probe.standard_error, _as_good(best, probe)
        rows.append(
            RankedBackbone(**row, ranks=ranks, standard_error=error, as_good=near)
        )
    return tuple(rows)


def _as_good(best: LooRidge, other: LooRidge) -> bool:
    """Whether two probes differ by at most one standard error of the difference."""
    gaps = best.correct.astype(float) - other.correct
    return bool(gaps.mean() <= gaps.std(ddof=1) / math.sqrt(len(gaps)))


def _agreement(
    rows: Sequence[RankedBackbone], names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Weighted Kendall tau of each pair of scores; nan where it is not defined."""
    from scipy.stats import weightedtau

    values = {name: [row.scores[name] for row in rows] for name in names}
    return {
        one: {
            other: float(weightedtau(values[one], values[other]).statistic)
            if len(set(values[one])) > 1 and len(set(values[other])) > 1
            else math.nan
            for other in names
        }
        for one in names
    }


def _shifted(progress: Progress | None, start: int, whole: int) -> Progress:
    """Progress of one backbone as progress of all of them."""

    def show(done: int, total: int) -> None:
        if progress is not None:
            progress(start + done, whole)

    return show


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
