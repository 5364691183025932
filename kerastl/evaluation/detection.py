"""Scores of boxes against boxes, and which of many boxes to keep: arrays in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail

#: Overlaps at which COCO scores: 0.5, 0.55, ... 0.95.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
#: Square pixels of each size, both limits included, as COCO has them.
SIZES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
_RESAMPLES = 200


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes xyxy, `(..., n, 4)` by `(..., m, 4)`.

    Boxes without area overlap with none.
    """
    low = np.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = np.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    one, two = (
        np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)
        for boxes in (first, second)
    )
    union = one[..., :, None] + two[..., None, :] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def non_maximum_suppression(
    boxes: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    *,
    threshold: float = 0.5,
    limit: int = 100,
) -> np.ndarray:
    """Which boxes to keep: of those of a class that overlap, the surest.

    What is kept does not depend on the order in which the boxes come, and doing it
    twice keeps the same.

    Args:
        boxes: One image's, xyxy `(k, 4)`.
        scores: `(k,)`.
        classes: `(k,)` integers; only boxes of one class suppress each other.
        threshold: Overlap (intersection over union) above which the less sure goes.
        limit: How many to keep at most.

    Returns:
        Indices of the kept ones, the surest first.

    Raises:
        ValueError: If lengths differ or a number is out of range.

    Example:
        >>> boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]
        >>> non_maximum_suppression(boxes, [0.6, 0.9, 0.3], [0, 0, 0]).tolist()
        [1, 2]
    """
    check_number("threshold", threshold, 0.0, 1.0)
    check_integer("limit", limit, 0)
    corners = np.reshape(np.asarray(boxes, np.float64), (-1, 4))
    score, kind = np.asarray(scores, np.float64), np.asarray(classes)
    if not len(corners) == len(score) == len(kind):
        counts = (len(corners), len(score), len(kind))
        fail("scores", "as many as boxes and classes", counts)
    # Equal scores are told apart by what the boxes are, not by their place.
    order = np.lexsort((*corners.T[::-1], kind, -score))
    kept: list[int] = []
    while len(order) and len(kept) < limit:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        shared = overlaps(corners[first][None], corners[rest])[0]
        order = rest[(shared <= threshold) | (kind[rest] != kind[first])]
    return np.array(kept, np.int64)


@dataclass(frozen=True)
class ClassPrecision:
    """How well the objects of one class, or of all, are found.

    Attributes:
        name: The class.
        objects: Number of true ones.
        ap: Average precision, the mean over overlaps from 0.5 to 0.95; None without
            objects.
        ap50: At an overlap of 0.5.
        ap75: At an overlap of 0.75.
        small: As `ap`, of objects below 32 x 32 pixels; None where there are none.
        medium: From there to 96 x 96.
        large: Above.
        ap_interval: 95 % limits of `ap`, by the bootstrap over images.
        ap50_interval: The same of `ap50`.
    """

    name: str
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    ap_interval: tuple[float, float] | None = None
    ap50_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class AveragePrecision:
    """Scores of a detector on a set of images.

    Attributes:
        overall: The means over the classes that have objects.
        per_class: Those of each class.
    """

    overall: ClassPrecision
    per_class: tuple[ClassPrecision, ...]


def average_precision(
    truth: Sequence[tuple[ArrayLike, ArrayLike]],
    found: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    class_names: Sequence[str],
    limit: int = 100,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> AveragePrecision:
    """Average precision as COCO computes it.

    Give all detections, those of a low score too: precision is read at each recall,
    and whoever leaves out the unsure ones loses recall.

    Args:
        truth: For each image (boxes xyxy `(k, 4)` in pixels, classes `(k,)`).
        found: For each image (boxes `(m, 4)`, classes `(m,)`, scores `(m,)`).
        class_names: Names in the order of the classes.
        limit: Detections of a class in an image that count, the surest.
        resamples: Of the images, for the intervals; 0: none.
        seed: Of the resamples.

    Returns:
        The scores, over all and of each class.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> truth = [([[0, 0, 10, 10]], [0])]
        >>> found = [([[0, 0, 10, 8]], [0], [0.9])]
        >>> scores = average_precision(truth, found, class_names=["cat"])
        >>> round(scores.overall.ap50, 3), round(scores.overall.ap, 3)
        (1.0, 0.7)

    Reference:
        Lin et al. (2014), Microsoft COCO, arXiv:1405.0312, section 5, for the task;
        the definition is that of its evaluation code, `COCOeval`, "bbox".
    """
    if len(truth) != len(found):
        fail("found", f"of length {len(truth)}, as `truth`", len(found))
    check_integer("resamples", resamples, 0)
    check_integer("limit", limit, 1)
    pairs = list(zip(truth, found, strict=True))
    matches = [
        {
            name: [_match(true, each, kind, size, limit) for true, each in pairs]
            for name, size in SIZES.items()
        }
        for kind in range(len(class_names))
    ]
    rows = []
    for name, match in zip(class_names, matches, strict=True):
        ap = {size: _precisions(each) for size, each in match.items()}
        rows.append(_row(name, match["all"], ap))
    drawn = np.random.default_rng(seed).integers(
        len(truth), size=(resamples if truth else 0, len(truth))
    )
    samples = np.array(
        [
            [_ends(_precisions([match["all"][i] for i in chosen])) for match in matches]
            for chosen in drawn
        ]
    ).reshape(len(drawn), len(matches), 2)
    rows = [_with_limits(row, samples[:, k]) for k, row in enumerate(rows)]
    means = {
        key: _mean([getattr(row, key) for row in rows])
        for key in ("ap", "ap50", "ap75", "small", "medium", "large")
    }
    whole = ClassPrecision("all", sum(row.objects for row in rows), **means)
    # A resample without any object of a class leaves that class out of its mean.
    known = np.isfinite(samples)
    total = np.where(known, samples, 0).sum(axis=1)
    mean = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
    return AveragePrecision(_with_limits(whole, mean), tuple(rows))


@dataclass(frozen=True)
class _Match:
    """One image's detections of a class against its objects.

    Attributes:
        scores: `(m,)`, the highest first.
        hit: Booleans `(thresholds, m)`: whether an object was found.
        ignored: Booleans `(thresholds, m)`: whether it counts neither way.
        objects: Number of objects of the size.
    """

    scores: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    objects: int


def _match(
    truth: tuple[Any, Any],
    found: tuple[Any, Any, Any],
    kind: int,
    size: tuple[float, float],
    limit: int,
) -> _Match:
    """Detections to objects, the surest first, each to the best that is free."""
    mine = np.asarray(truth[1]) == kind
    objects = np.reshape(np.asarray(truth[0], np.float64), (-1, 4))[mine]
    chosen = np.flatnonzero(np.asarray(found[1]) == kind)
    scores = np.asarray(found[2], np.float64)[chosen]
    order = np.argsort(-scores, kind="stable")[:limit]
    scores = scores[order]
    boxes = np.reshape(np.asarray(found[0], np.float64), (-1, 4))[chosen[order]]
    other = _outside(objects, size)
    shared = overlaps(boxes, objects)
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None]
    free = np.ones((len(limits), len(objects)), bool)
    hit = np.zeros((len(limits), len(boxes)), bool)
    ignored = np.zeros_like(hit)
    every = np.arange(len(limits))
    for d in range(len(boxes) if len(objects) else 0):
        fits = free & (shared[d] >= limits)
        # An object of another size only where none of this size fits.
        wanted = fits & ~other
        fits = np.where(wanted.any(axis=1, keepdims=True), wanted, fits)
        rank = np.where(fits, shared[d], -1.0)
        # Of equal ones the last, as COCO's code has it.
        best = rank.shape[1] - 1 - rank[:, ::-1].argmax(axis=1)
        matched = fits.any(axis=1)
        free[every[matched], best[matched]] = False
        ignored[:, d] = matched & other[best]
        hit[:, d] = matched & ~other[best]
    ignored |= ~hit & _outside(boxes, size) & ~ignored
    return _Match(scores, hit, ignored, int((~other).sum()))


def _outside(boxes: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Whether boxes are of another size."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return (area < size[0]) | (area > size[1])


def _precisions(matches: Sequence[_Match]) -> np.ndarray | None:
    """Average precision at each threshold `(10,)`; None without objects."""
    objects = sum(match.objects for match in matches)
    if not objects:
        return None
    order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable")
    hit = np.concatenate([m.hit for m in matches], axis=1)[:, order]
    ignored = np.concatenate([m.ignored for m in matches], axis=1)[:, order]
    right = np.cumsum(hit & ~ignored, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hit & ~ignored, axis=1, dtype=np.float64)
    recall = right / objects
    precision = right / np.maximum(right + wrong, np.finfo(np.float64).tiny)
    # The best precision at this recall or a higher one.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(best, ((0, 0), (0, 1)))
    places = [np.searchsorted(row, _RECALLS, side="left") for row in recall]
    return np.array([row[at].mean() for row, at in zip(padded, places, strict=True)])


def _row(
    name: str, matches: Sequence[_Match], ap: dict[str, np.ndarray | None]
) -> ClassPrecision:
    every = ap["all"]
    means = {size: None if p is None else float(p.mean()) for size, p in ap.items()}
    return ClassPrecision(
        name,
        sum(match.objects for match in matches),
        ap=means.pop("all"),
        ap50=None if every is None else float(every[0]),
        ap75=None if every is None else float(every[5]),
        **means,
    )


def _ends(precisions: np.ndarray | None) -> tuple[float, float]:
    """(ap, ap50), not a number without objects."""
    if precisions is None:
        return np.nan, np.nan
    return float(precisions.mean()), float(precisions[0])


def _with_limits(row: ClassPrecision, samples: np.ndarray) -> ClassPrecision:
    """The scores with the limits that resamples `(resamples, 2)` give."""
    known = samples[np.isfinite(samples).all(axis=1)]
    if not len(known) or row.ap is None:
        return row
    low, high = np.quantile(known, (0.025, 0.975), axis=0).tolist()
    limits = {"ap_interval": (low[0], high[0]), "ap50_interval": (low[1], high[1])}
    return ClassPrecision(**{**vars(row), **limits})


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
