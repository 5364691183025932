"""Ranking backbones on a data set."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail, nearest
from kerastl._compat import graph_nodes
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.images import PixelStore
from kerastl.data.inputs import stratified_sample, training_images
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.texts import TextSet
from kerastl.evaluation.figures import short_name
from kerastl.evaluation.score_plots import plot_pareto
from kerastl.features.network import extract_features, feature_network, open_backbone
from kerastl.features.probe import LooRidge, loo_ridge
from kerastl.models.blocks import multiplications
from kerastl.models.record import network_size
from kerastl.models.registry import REGISTRY, find_spec
from kerastl.models.text_backbones import BUNDLED, is_text_network
from kerastl.models.text_layers import find_tokens
from kerastl.models.weights import cached_imagenet_file, tiny_weights
from kerastl.selection.transferability import SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: What may follow a name, and how it is read.
_OPTIONS = {"alpha": float, "image_size": int, "weights": str}


@dataclass(frozen=True)
class Candidate:
    """A backbone to compare.

    Attributes:
        label: What it is called in the table.
        backbone: Its name, or the network itself.
        options: Arguments of `open_backbone`, for a name.
    """

    label: str
    backbone: str | keras.Model
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, seed: int) -> keras.Model:
        """The network, from 0-255 pixels to a feature map."""
        return open_backbone(self.backbone, seed=seed, **self.options)


def read_candidates(
    candidates: Sequence[Any] | Mapping[str, Any] | None, defaults: dict[str, Any]
) -> list[Candidate]:
    """Candidates from names, networks or a mapping of labels to either.

    Args:
        candidates: See `rank_backbones`.
        defaults: `image_size` and `weights` of names that do not say them.

    Raises:
        ValueError: If a name is unknown, or a label comes twice.
        TypeError: If a candidate is neither a name nor a functional model.
    """
    if candidates is None:
        candidates = offline_candidates(defaults["image_size"])
    if isinstance(candidates, str) or not isinstance(candidates, (Mapping, Sequence)):
        kinds = "a sequence or a mapping of names and models"
        fail("candidates", kinds, candidates, error=TypeError)
    if isinstance(candidates, Mapping):
        pairs = list(candidates.items())
    else:
        pairs = [(getattr(each, "name", each), each) for each in candidates]
    if not pairs:
        fail("candidates", "at least one backbone", candidates)
    labels = [label for label, _ in pairs]
    twice = sorted({str(label) for label in labels if labels.count(label) > 1})
    if twice:
        hint = "Give a mapping of different labels to them."
        fail("candidates", "called differently", twice, hint)
    return [_candidate(str(label), each, defaults) for label, each in pairs]


def offline_candidates(image_size: Any = None) -> list[str]:
    """Backbones whose weights are on this machine: bundled, or in Keras's folder."""
    found = [f"{e.name}:alpha={e.alpha:g},weights=tiny" for e in tiny_weights()]
    for spec in REGISTRY.values():
        side = image_size or spec.native_size
        size = side if isinstance(side, (tuple, list)) else (side, side)
        for alpha in spec.alphas or (1.0,):
            if cached_imagenet_file(spec, alpha=alpha, image_size=tuple(size)):
                width = f"alpha={alpha:g}," if spec.alphas else ""
                found.append(f"{spec.name}:{width}weights=imagenet")
    return found


def _candidate(label: str, each: Any, defaults: dict[str, Any]) -> Candidate:
    if isinstance(each, str) and not is_text_network(each):
        name, options = _read_text(each)
        return Candidate(label, name, {**defaults, **options})
    if not isinstance(each, (str, keras.Model)):
        kinds = "names such as 'MobileNet:alpha=0.25,weights=tiny', or keras.Models"
        fail("candidates", kinds, type(each).__name__, error=TypeError)
    # Whatever is wrong with a network at hand is told before any work is done.
    return Candidate(label, open_backbone(each))


def _read_text(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of `"MobileNet:alpha=0.25,weights=tiny"`."""
    name, _, rest = text.partition(":")
    find_spec(name)
    options = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in _OPTIONS:
            hint = nearest(key, _OPTIONS)
            fail("candidates", f"a name with {', '.join(_OPTIONS)}", text, hint)
        try:
            options[key] = _OPTIONS[key](value)
        except ValueError:
            fail("candidates", f"given with a number for {key}", text)
    if options.get("weights") == "none":
        options["weights"] = None
    return name, options


_NAME_WIDTH = 48


def ranking_text(ranking: "BackboneRanking") -> str:
    """The table, the agreement of the scores, and what is missing."""
    probe, *others = ranking.scores
    heads = [
        "",
        "backbone",
        "linear probe",
        f"ms/{ranking.noun}",
        "parameters",
        "MB",
        *others,
    ]
    lines = [heads, *(_cells(row, others) for row in ranking.rows)]
    if others and len(ranking.rows) > 1:
        taus = [f"{ranking.agreement[probe][name]:.2f}" for name in others]
        lines.append(["", "agreement with the probe", *[""] * 4, *taus])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        " ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width + 1)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.append(
        f"* within one standard error of the best; {ranking.images} {ranking.noun}s, "
        f"{ranking.classes} classes; ranks in brackets"
    )
    text += [
        f"not measured: {name}: {why}" for name, why in ranking.unavailable.items()
    ]
    return "\n".join(text)


def _cells(row: "RankedBackbone", others: list[str]) -> list[str]:
    """One line of the table."""
    accuracy: Any = row.scores["linear_probe"]
    return [
        "*" if row.as_good else "",
        short_name(row.name, _NAME_WIDTH),
        f"{accuracy:.1%} +- {row.standard_error:.1%}",
        f"{1000 * row.seconds:.2f}",
        f"{row.parameters:,}",
        f"{(row.weight_bytes + row.activation_bytes) / 1e6:.1f}",
        *(f"{row.scores[name]:.3g} ({row.ranks[name]})" for name in others),
    ]


_BATCHES = 4


class BackboneReader:
    """Runs backbones over one sample; pixels of the size used last are kept.

    Args:
        sample: Images, at least two.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time, at most: there are several batches, since the
            first one, with its compilation, is left out of the timing.
    """

    def __init__(self, sample: ImageSet, *, resize: str, batch_size: int) -> None:
        """See the class."""
        self._sample, self._resize = sample, resize
        self._batch = min(batch_size, max(len(sample) // _BATCHES, 1))
        self._store: PixelStore | None = None

    def measure(
        self, candidate: Candidate, backbone: keras.Model, progress: Progress
    ) -> tuple[dict[str, Any], np.ndarray]:
        """What is known of a backbone, and its features `(n, d)`, from one pass.

        Args:
            candidate: Where the backbone came from.
            backbone: From pixels to a feature map.
            progress: Called with (done, total) images.
        """
        network = feature_network(backbone)
        size = network_size(network, candidate.options.get("image_size"))
        texts = isinstance(self._sample, TextSet)
        if texts != (find_tokens(network) is not None):
            noun = self._sample.noun
            fail("candidates", f"networks of {noun}s for {noun}s", candidate.label)
        if not texts and (self._store is None or self._store.image_size != size):
            options = {"image_size": size, "resize": self._resize}
            self._store = PixelStore(self._sample, **options)
            # Reading files is none of the network's time.
            self._store.pixels()
        ends = []

        def note(done: int, total: int) -> None:
            ends.append(time.perf_counter())
            progress(done, total)

        features = extract_features(
            network,
            self._sample,
            image_size=size,
            batch_size=self._batch,
            store=self._store,
            progress=note,
        )
        return {
            "name": candidate.label,
            "image_size": size,
            "features": features.shape[1],
            "parameters": backbone.count_params(),
            "multiplications": multiplications(backbone),
            # The median: other work on the machine disturbs single batches.
            "seconds": float(np.median(np.diff(ends))) / self._batch,
            "weight_bytes": sum(_nbytes(weight) for weight in backbone.weights),
            "activation_bytes": live_bytes(backbone),
        }, features


def live_bytes(model: keras.Model) -> int:
    """Most bytes of float32 feature maps alive at once, for one image."""
    nodes = graph_nodes(model)
    last_use = {tensor: place for place, n in enumerate(nodes) for tensor in n.inputs}
    live: dict[int, int] = {}
    most = 0
    for place, node in enumerate(nodes):
        for tensor in node.outputs:
            live[id(tensor)] = 4 * math.prod(side or 1 for side in tensor.shape[1:])
        most = max(most, sum(live.values()))
        live = {
            key: size for key, size in live.items() if last_use.get(key, -1) > place
        }
    return most


def _nbytes(weight: keras.Variable) -> int:
    return int(keras.ops.convert_to_numpy(weight).nbytes)


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
class BackboneRanking(Tabular):
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
        noun: What one of them is called, in print.

    Reference:
        Vigna (2015), A weighted correlation index for rankings with ties.
    """

    rows: tuple[RankedBackbone, ...]
    scores: tuple[str, ...]
    agreement: dict[str, dict[str, float]]
    unavailable: dict[str, str]
    images: int
    classes: int
    noun: str = "image"

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

    def _heading(self) -> str:
        return f"{self.images} {self.noun}s, {self.classes} classes"

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
            For candidates of texts a `TextSet`, or what `open_data` reads as one.
        candidates: Names such as `"ResNet50"` or
            `"MobileNet:alpha=0.25,weights=tiny,image_size=96"`, backbones and
            classifiers (`keras.Model`), or a mapping of labels to either. None: the
            bundled ones, and those whose ImageNet weights are in Keras's folder; of
            texts `"MiniText"`.
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
        >>> from kerastl.data.catalog import load_dataset
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
    if candidates is not None:  # whatever is wrong with them is told first
        chosen = read_candidates(candidates, defaults)
    whole = training_images(data)
    if candidates is None:
        found = [BUNDLED] if isinstance(whole, TextSet) else None
        chosen = read_candidates(found, defaults)
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
    counts = len(sample), classes, sample.noun
    return BackboneRanking(rows, names, agreement, unavailable, *counts)


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
