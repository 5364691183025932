"""How a classifier stands worse images: noise, blur, less contrast, light, JPEG."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.texts import TextSet
from kerastl.evaluation.metrics import wilson_interval
from kerastl.features.network import run_batches
from kerastl.features.sources import labelled_examples
from kerastl.prediction import check_scorable, pixel_store
from kerastl.tasks.task import bind_known

#: Images that strengths are measured on, and halvings of the interval they lie in.
_SAMPLE, _HALVINGS = 32, 24


@dataclass(frozen=True)
class Corrupted:
    """Accuracy on images made worse in one way, by so much.

    Attributes:
        corruption: The way.
        asked: Root mean square change of a pixel that was asked for, 0 to 255.
        measured: The same as it came out, over all images.
        accuracy: Share that is right.
        interval: Its Wilson limits.
    """

    corruption: str
    asked: float
    measured: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class CorruptionReport(Tabular):
    """Accuracy on images as they are, and on worse ones.

    Attributes:
        clean: Accuracy on the images as they are.
        rows: One for each way and size of change.
        unreachable: `(way, size)` that no strength reaches on these images.
        images: Number of images.
    """

    clean: float
    rows: tuple[Corrupted, ...]
    unreachable: tuple[tuple[str, float], ...]
    images: int

    @property
    def kept(self) -> float:
        """Mean over the rows of what is left of the clean accuracy; 1: all of it."""
        left = [row.accuracy / self.clean for row in self.rows if self.clean]
        return float(np.mean(left)) if left else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        plain = {"clean": self.clean, "images": self.images, "kept": self.kept}
        unreachable = [list(each) for each in self.unreachable]
        rows = [asdict(row) for row in self.rows]
        return {**plain, "rows": rows, "unreachable": unreachable}

    def __str__(self) -> str:
        """One line a way and size."""
        lines = [f"{self.images} images, accuracy {100 * self.clean:.1f} % as they are"]
        for row in self.rows:
            low, high = (100 * limit for limit in row.interval)
            lines.append(
                f"{row.corruption:<12}{row.measured:6.1f}  {100 * row.accuracy:5.1f} % "
                f"({low:.1f} to {high:.1f})"
            )
        lines += [f"{way} reaches no {size:g} here" for way, size in self.unreachable]
        return "\n".join(lines)


def corruption_report(
    model: keras.Model,
    data: Any,
    *,
    corruptions: Sequence[str] = ("noise", "blur", "contrast", "brightness", "jpeg"),
    sizes: Sequence[float] = (5.0, 10.0, 20.0, 40.0),
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> CorruptionReport:
    """Accuracy on images made worse, each way by the same measured amount.

    The size of a change is the root mean square difference of a pixel, so that ways
    compare, and 0 is the clean score. Images are changed as the network takes them,
    after resizing. It is a matter of the model's robustness, not of other cameras or
    places: those need images of their own.

    Args:
        model: A classifier of images.
        data: Labelled images, as `evaluate` takes them.
        corruptions: Out of noise, blur, contrast (less of it), brightness (less of it)
            and jpeg.
        sizes: Changes in pixels of 0-255, at least 0.
        batch_size: Images at a time.
        seed: Of the noise, which follows from it and the image's place.
        progress: Called with (done, total) of ways and sizes.

    Returns:
        A `CorruptionReport`.

    Raises:
        ValueError: If the model is no classifier of images, or a name is unknown.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> pixels = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), "uint8")
        >>> data = kerastl.ImageSet(pixels, np.zeros(4, int), ("dark", "light"))
        >>> report = corruption_report(model, data, corruptions=["noise"], sizes=[0, 9])
        >>> [round(row.measured) for row in report.rows]
        [0, 9]

    Reference:
        Hendrycks & Dietterich (2019), arXiv:1903.12261, section 3, whose severities are
        constants of ImageNet; here each is measured.
    """
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    for name in corruptions:
        check_choice("corruptions", name, tuple(_WAYS))
    for size in sizes:
        check_number("sizes", size, 0.0, 255.0)
    bound = bind_known(model)
    examples = labelled_examples(bound, data, "data")
    if (
        not bound.record.class_names
        or bound.task.dense
        or isinstance(examples, TextSet)
    ):
        fail("model", "a classifier of images", f"a model for {bound.task.name}")
    labels, store = check_scorable(bound, examples), pixel_store(bound, examples)

    def right(rows: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        outputs = run_batches(model, rows, len(labels), batch_size=batch_size)
        said = bound.task.predictions(bound.task.decode(outputs)).indices
        return (said == labels).reshape(len(labels), -1).all(axis=1)

    clean = float(right(store.rows).mean())
    sample = np.arange(min(_SAMPLE, len(labels)))
    wanted = [(way, float(size)) for way in corruptions for size in sizes]
    rows, unreachable = [], []
    for done, (way, size) in enumerate(wanted, 1):
        change = Change(store.rows, way, seed)
        strength = change.strength_of(size, sample)
        if strength is None:
            unreachable.append((way, size))
        else:
            hits = right(lambda indices, c=change, s=strength: c.rows(indices, s))
            limits = wilson_interval(int(hits.sum()), len(hits))
            measured = change.size(strength, np.arange(len(labels)))
            rows.append(Corrupted(way, size, measured, float(hits.mean()), limits))
        if progress is not None:
            progress(done, len(wanted))
    return CorruptionReport(clean, tuple(rows), tuple(unreachable), len(labels))


@dataclass(frozen=True)
class Change:
    """One way to make images worse, of any strength from 0 to 1.

    Attributes:
        pixels: Gives images by index, 0-255.
        way: Its name.
        seed: Of noise.
    """

    pixels: Callable[[np.ndarray], np.ndarray]
    way: str
    seed: int

    def rows(self, indices: np.ndarray, strength: float) -> np.ndarray:
        """The images, worse: whole pixels of 0-255, as a file would have them."""
        images = np.asarray(self.pixels(indices))
        if strength == 0:
            return images
        made = [
            _WAYS[self.way](image, strength, np.random.default_rng([self.seed, place]))
            for image, place in zip(images.astype(np.float32), indices, strict=True)
        ]
        return np.clip(np.rint(np.stack(made)), 0, 255).astype(np.float32)

    def size(self, strength: float, indices: np.ndarray, block: int = 256) -> float:
        """Root mean square change of a pixel."""
        squares, count = 0.0, 0
        for start in range(0, len(indices), block):
            chosen = indices[start : start + block]
            before = np.asarray(self.pixels(chosen), np.float32)
            squares += float(np.square(self.rows(chosen, strength) - before).sum())
            count += before.size
        return float(np.sqrt(squares / count))

    def strength_of(self, size: float, sample: np.ndarray) -> float | None:
        """The strength that changes a sample by so much; None: none does."""
        if size == 0:
            return 0.0
        if self.size(1.0, sample) < size:
            return None
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if self.size(middle, sample) < size else (low, middle)
            )
        # JPEG's best quality may change more than that.
        near = abs(self.size(high, sample) - size) <= size / 3
        return high if near else None


def _noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + 128 * strength * rng.normal(size=image.shape).astype(np.float32)


def _blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    widest = strength * max(image.shape[:2]) / 4
    return gaussian_filter(image, (widest, widest, 0), mode="nearest")


def _fade(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + strength * (image.mean() - image)


def _darken(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return (1 - strength) * image


def _jpeg(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    from PIL import Image

    whole = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    made = []
    for part in np.split(whole, range(3, whole.shape[2], 3), axis=2):
        held, wide = (
            io.BytesIO(),
            np.repeat(part, 3 if part.shape[2] == 1 else 1, axis=2),
        )
        Image.fromarray(wide).save(
            held, "JPEG", quality=round(100 - 99 * strength), subsampling=0
        )
        made.append(np.asarray(Image.open(held), np.float32)[..., : part.shape[2]])
    return np.concatenate(made, axis=2)


_WAYS: dict[str, Callable[..., np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _fade,
    "brightness": _darken,
    "jpeg": _jpeg,
}
