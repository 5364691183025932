"""Predicting, evaluating and calibrating a model on examples."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail, warn
from kerastl._progress import Progress
from kerastl._tables import Tabular
from kerastl.data.augmentation import Augmentation, check_views
from kerastl.data.changes_numpy import view_rows
from kerastl.data.decoding import as_pixels, decoding_errors, upright_size
from kerastl.data.images import PixelStore, ReadableStore
from kerastl.data.inputs import as_image_set
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet, as_text_set
from kerastl.evaluation.calibration import expected_calibration_error, fit_temperature
from kerastl.evaluation.metrics import log_loss
from kerastl.evaluation.operating import (
    OperatingPoint,
    check_aims,
    operating_point,
    threshold_at,
)
from kerastl.features.network import (
    output_blocks,
    replica_count,
    run_batches,
    text_outputs,
)
from kerastl.features.sources import labelled_examples
from kerastl.models.record import read_encoder, set_operating, set_temperature
from kerastl.models.text_layers import find_tokens
from kerastl.tasks.task import BoundModel, bind_known


def predict(
    model: keras.Model,
    inputs: Any,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    on_bad: str = "error",
    progress: Progress | None = None,
) -> Any:
    """What a model says of images or texts, in the order they were given.

    The images are read and resized exactly as in training. No weight of the model
    changes, and the same image gets the same answer in any company, except with random
    views: those of an image follow from its place among the inputs.

    Args:
        model: From `build_classifier`, `build_regressor` or `load_model`.
        inputs: A file, a folder (its images, also in folders inside), a list of them;
            an array of pixels 0-255, `(n, height, width, 3)` or one image; a PIL
            image or a list of them; or an `ImageSet`. For a model of texts a list of
            strings, one string, a `TextSet`, or a file: a table (see `load_texts`), or
            a .txt with a text a line.
        batch_size: Images at a time.
        views: Over how many views of each image the answers are averaged: the
            image itself, its mirror image where `augment` flips, then random ones. It
            takes as many times as long.
        augment: What the other views come from: see `batches`. Signs and digits need
            `"digits"`, which never flips.
        seed: The random views follow from it and the image's place.
        on_bad: `"error"` names a file that cannot be read; `"skip"` leaves it out, with
            a warning, and lists it in `left_out` of what is returned.
        progress: Called with (done, total).

    Returns:
        Of a classifier `kerastl.tasks.Predictions`: names, probabilities and paths, one
        row an image; of a regressor `kerastl.tasks.NumberPredictions`.

    Raises:
        ValueError: If there is no image, one cannot be read, pixels are not 0-255, or
            `augment` makes no other views.
        FileNotFoundError: If a file or folder does not exist.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> image = np.full((50, 80, 3), 128, "uint8")
        >>> kerastl.predict(model, image).probabilities.round(3).tolist()
        [[0.333, 0.333, 0.333]]
    """
    options = (batch_size, views, augment, seed, on_bad, progress)
    return predicted(bind_known(model), inputs, *options)[0]


def predicted(
    bound: BoundModel,
    inputs: Any,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    on_bad: str = "error",
    progress: Progress | None = None,
    store: PixelStore | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> tuple[Any, np.ndarray]:
    """What `predict` says, for a model whose record is known, and of which images.

    `store` has the pixels of an `ImageSet`, where they are at hand; `sizes` are
    `(height, width)` of each image as it was before it was brought to the network's.
    """
    check_integer("batch_size", batch_size, 1)
    check_choice("on_bad", on_bad, ("error", "skip"))
    record, task = bound.record, bound.task
    if find_tokens(bound.model) is not None:
        if views != 1:
            fail("views", "1 for texts, which have no other views", views)
        texts = as_text_set(inputs)
        return _predict_texts(bound, texts, batch_size, progress), np.arange(len(texts))
    if isinstance(inputs, TextSet):
        fail("inputs", "images for a model of images", inputs, error=TypeError)
    images = as_image_set(inputs, record.image_size, record.resize)
    if not len(images):
        fail("inputs", "at least one image", "none")
    check_views(views, augment, seed)
    skip = on_bad == "skip"
    store = store or pixel_store(bound, images, keep=views > 1, skip=skip)
    rows = [view_rows(store, view, augment, seed) for view in range(views)]
    if task.dense:
        sizes = sizes or _own_sizes(inputs, images)
        answers = _placed(bound, rows, sizes, batch_size, progress)
    else:
        total = np.zeros(())
        for view, given in enumerate(rows):
            part = _part_of(progress, view, views)
            options = {"batch_size": batch_size, "progress": part}
            outputs = run_batches(bound.model, given, len(images), **options)
            total = total + task.decode(outputs)
        answers = total / views
    kept = store.readable("inputs") if skip else np.arange(len(images))
    paths = images.paths and tuple(images.paths[i] for i in kept)
    chosen = [answers[i] for i in kept] if task.dense else answers[kept]
    found = _by_threshold(task.predictions(chosen, paths), bound)
    if len(kept) < len(images) and hasattr(found, "left_out"):
        left_out = tuple(path for path in images.paths if path not in set(paths))
        found = replace(found, left_out=left_out)
    return found, kept


#: Numbers of outputs in memory at a time, where there are some at each place.
_AT_ONCE = 2**25


def _placed(
    bound: BoundModel,
    rows: list[Callable[[np.ndarray], np.ndarray]],
    sizes: Sequence[tuple[int, int]],
    batch_size: int,
    progress: Progress | None,
) -> list[Any]:
    """What a dense task says of each image, in the image's own pixels.

    A batch at a time, since the outputs of all images would fill the memory. Besides
    the image itself there is its mirror image: other views cannot be laid back.
    """
    task, model, total, found = bound.task, bound.model, len(sizes), []
    if len(rows) > 2:
        fail("views", "1, or 2: the image and its mirror image", len(rows))
    each = math.prod(side or 1 for side in model.output_shape[1:])
    batch_size = min(batch_size, total, max(1, _AT_ONCE // each))
    replicas = replica_count(model)
    batch_size = -(-batch_size // replicas) * replicas

    def outputs(view: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
        starts = range(0, total, batch_size)
        inputs = (view(np.arange(s, min(s + batch_size, total))) for s in starts)
        return output_blocks(model, inputs, batch_size)

    blocks = [outputs(view) for view in rows]
    for made in zip(*blocks, strict=True):
        decoded = task.decode(made[0])
        if len(made) > 1:
            decoded = (decoded + task.mirrored(task.decode(made[1]))) / 2
        here = sizes[len(found) : len(found) + len(decoded)]
        found += task.placed(decoded, here, bound.record.resize)
        if progress is not None:
            progress(len(found), total)
    return found


def _own_sizes(inputs: Any, images: ImageSet) -> list[tuple[int, int]]:
    """`(height, width)` of each image as it was given."""
    if images.paths is not None:
        return [_file_size(path) for path in images.paths]
    several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
    if several and len(inputs) == len(images):
        return [as_pixels(item, "inputs").shape[:2] for item in inputs]
    if hasattr(inputs, "convert"):
        return [as_pixels(inputs).shape[:2]]
    return [images.images.shape[1:3]] * len(images)


def _file_size(path: str) -> tuple[int, int]:
    """A file's size; of one that cannot be read any will do."""
    try:
        return upright_size(path)
    except decoding_errors():
        return 1, 1


def _predict_texts(
    bound: BoundModel, texts: TextSet, batch_size: int, progress: Progress | None
) -> Any:
    """What a model says of texts, encoded by its own encoder."""

    def outputs(rows: Mapping[str, np.ndarray]) -> np.ndarray:
        def some(indices: np.ndarray) -> dict[str, np.ndarray]:
            return {name: array[indices] for name, array in rows.items()}

        given = {"batch_size": batch_size, "progress": progress}
        return run_batches(bound.model, some, len(rows["token_ids"]), **given)

    encoder = read_encoder(bound.model)
    return _by_threshold(bound.task.of_texts(texts, encoder, outputs), bound)


def _by_threshold(found: Any, bound: BoundModel) -> Any:
    """Predictions that decide by the model's threshold, where it has one."""
    kept = bound.record.operating
    return replace(found, threshold=kept["threshold"]) if kept else found


def pixel_store(
    bound: BoundModel, images: ImageSet, *, keep: bool = False, skip: bool = False
) -> PixelStore:
    """The images as the model wants them; kept if they are needed again."""
    size, resize = bound.record.image_size, bound.record.resize
    options = {"channels": bound.record.channels}
    options |= {} if keep else {"memory_limit": 0}
    kind = ReadableStore if skip else PixelStore
    return kind(images, image_size=size, resize=resize, **options)


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What reports on one of several passes as a part of them all."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(number * total + done, count * total)


def evaluate(
    model: keras.Model,
    image_set: ImageSet,
    *,
    batch_size: int = 64,
    views: int = 1,
    augment: str | Augmentation = "light",
    seed: int = 0,
    on_bad: str = "error",
    progress: Progress | None = None,
) -> Any:
    """A model's results on labelled images: accuracy or errors with their intervals.

    Predictions, labels and paths come from one pass, in order. Score the test part
    once, at the end: what you choose by it, it no longer measures.

    Args:
        model: From `build_classifier`, `build_regressor` or `load_model`.
        image_set: Labelled images whose classes, or numbers, are the model's, as an
            `ImageSet` or `(images, labels)`; of texts likewise for a model of texts.
        batch_size: Images at a time.
        views: Views of each image to average over: see `predict`.
        augment: What the other views come from: see `predict`.
        seed: The random views follow from it.
        on_bad: `"error"` names a file that cannot be read; `"skip"` leaves it out, with
            a warning.
        progress: Called with (done, total).

    Returns:
        Report that prints as a table: of a classifier
        `kerastl.tasks.EvaluationReport`, of a regressor `RegressionReport`.

    Raises:
        ValueError: If the images have no labels or other classes than the model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.zeros((4, 96, 96, 3), "uint8")
        >>> test = kerastl.ImageSet(images, np.array([0, 0, 0, 1]), ("dark", "light"))
        >>> kerastl.evaluate(model, test).accuracy
        0.75
    """
    options = (batch_size, views, augment, seed, on_bad, progress)
    return scored(bind_known(model), image_set, *options)[0]


def scored(
    bound: BoundModel, image_set: ImageSet, *given: Any, **options: Any
) -> tuple[Any, Any]:
    """Report and predictions of labelled images, from one pass: see `evaluate`."""
    image_set = labelled_examples(bound, image_set, "image_set")
    targets = check_scorable(bound, image_set)
    shared = shared_with_choice(bound, image_set)
    if shared:
        warn(
            f"The model's threshold was chosen on {shared} of these "
            f"{len(image_set)} {image_set.noun}s: on others it does less well."
        )
    began = time.perf_counter()
    predictions, kept = predicted(bound, image_set, *given, **options)
    seconds = time.perf_counter() - began
    report = bound.task.report(targets[kept], predictions, seconds=seconds)
    if hasattr(report, "noun"):
        report = replace(report, noun=image_set.noun)
    return report, predictions


def check_scorable(bound: BoundModel, image_set: ImageSet) -> np.ndarray:
    """The targets of a set as the model's outputs are ordered.

    Raises:
        ValueError: If there are none, or others than the model's.
        TypeError: If it is not an `ImageSet`.
    """
    texts = find_tokens(bound.model) is not None
    if not isinstance(image_set, TextSet if texts else ImageSet):
        hint = "Load a folder with kerastl.load_images."
        hint = "Read a file with kerastl.load_texts." if texts else hint
        expected = "a TextSet" if texts else "an ImageSet"
        fail("image_set", expected, type(image_set).__name__, hint, TypeError)
    return bound.task.targets(image_set)


@dataclass(frozen=True)
class CalibrationResult(Tabular):
    """What calibrating did.

    Attributes:
        temperature: What the model now divides its logits by.
        images: Number of images it was fitted on.
        before: `log_loss` and `expected_calibration_error` of those images as the
            model came.
        after: The same with the new temperature. On other images it gains less.
    """

    temperature: float
    images: int
    before: dict[str, float]
    after: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python types, ready for JSON."""
        return dict(vars(self))

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"score": name, "before": old, "after": self.after[name]}
            for name, old in self.before.items()
        ]

    def __str__(self) -> str:
        """A short account."""
        lines = [f"temperature {self.temperature:.3f}, fitted on {self.images} images"]
        for name, old in self.before.items():
            words = name.replace("_", " ")
            lines.append(f"{words:<26}  {old:.4f} before, {self.after[name]:.4f} after")
        return "\n".join(lines)


def calibrate(
    model: keras.Model,
    validation: ImageSet,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Make a classifier's probabilities honest, by one temperature kept inside it.

    Fit it on images that were not trained on, and never on those of the final test.
    The model is changed: its logits are divided by the temperature from now on, in
    `predict`, `evaluate`, its own calls and its `.keras` file. No decision changes,
    and calibrating again begins with the head's own logits, so it adds nothing.

    Args:
        model: A classifier from `build_classifier` or `load_model`.
        validation: As `evaluate` takes them.
        batch_size: Images at a time.
        progress: Called with (done, total).

    Returns:
        The temperature, and the scores before and after.

    Raises:
        ValueError: If the images have no labels or other classes than the model.

    Example:
        >>> import numpy as np, kerastl
        >>> from kerastl.prediction import calibrate
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 200], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> _ = kerastl.fine_tune(model, (images, labels), recipe="linear_probe")
        >>> labels[0] = 1
        >>> result = calibrate(
        ...     model, kerastl.ImageSet(images, labels, ("dark", "light"))
        ... )
        >>> result.after["log_loss"] <= result.before["log_loss"]
        True

    Reference:
        Guo et al. (2017), On calibration of modern neural networks, section 4.2,
        eq. 9.
    """
    check_integer("batch_size", batch_size, 1)
    bound = bind_known(model)
    task, old = bound.task, bound.record.temperature
    if not task.has_temperature:
        expected = "a classifier, whose probabilities a temperature can mend"
        fail("model", expected, f"a model for {task.name}")
    if bound.record.prior:
        hint = "Take it back by kerastl.adaptation.set_prior(model, None), and set it "
        hint += "again afterwards."
        fail("model", "without the prior of a target", "one with it", hint)
    validation = labelled_examples(bound, validation, "validation")
    labels = check_scorable(bound, validation)
    options = {"batch_size": batch_size, "progress": progress}
    if isinstance(validation, TextSet):
        logits = text_outputs(model, validation, **options)
    else:
        store = pixel_store(bound, validation)
        logits = run_batches(model, store.rows, len(labels), **options)
    # Back to the head's own.
    logits = np.asarray(logits, np.float64) * old
    temperature = fit_temperature(logits, labels)
    set_temperature(model, temperature)
    before, after = (
        _scores(labels, task.decode(logits / t)) for t in (old, temperature)
    )
    return CalibrationResult(temperature, len(labels), before, after)


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {
        "log_loss": log_loss(labels, probabilities),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }


@dataclass(frozen=True)
class ThresholdChoice(Tabular):
    """The threshold that was chosen, and what it does.

    Attributes:
        positive: The class that is given from the threshold on.
        aim: What was asked for, by name.
        chosen: On the images that it was chosen by.
        tested: On others, or None: only these say what to expect.
    """

    positive: str
    aim: dict[str, Any]
    chosen: OperatingPoint
    tested: OperatingPoint | None = None

    @property
    def threshold(self) -> float:
        """The class is given from this probability on."""
        return self.chosen.threshold

    def to_dict(self) -> dict[str, Any]:
        """The choice in plain Python types, ready for JSON."""
        tested = self.tested and self.tested.to_dict()
        plain = {"positive": self.positive, "aim": self.aim}
        plain |= {"threshold": self.threshold, "chosen": self.chosen.to_dict()}
        return {**plain, "tested": tested}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"images": name, **point.to_dict()}
            for name, point in (("chosen on", self.chosen), ("tested on", self.tested))
            if point
        ]

    def __str__(self) -> str:
        """What it does on the images it was chosen by, and on others."""
        [(name, wanted)] = self.aim.items()
        blocks = [
            f"{self.positive!r} from {self.threshold:.4f} on, for {name} {wanted}",
            f"chosen on: {self.chosen}",
        ]
        blocks.append(
            f"tested on: {self.tested}" if self.tested else "not tested on other images"
        )
        return "\n".join(blocks)


def choose_threshold(
    model: keras.Model,
    validation: ImageSet,
    *,
    test: ImageSet | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    precision: float | None = None,
    costs: Sequence[float] | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> ThresholdChoice:
    """Choose from which probability on the second of two classes is given; keep it.

    The model is changed: `predict` and `evaluate` decide by the threshold from now on,
    also from its `.keras` file. `calibrate` keeps its decisions; training anew drops
    it. What a threshold does on the images that chose it is too good: give `test`.

    Args:
        model: A classifier of two classes; the second one is positive.
        validation: Images to choose by, as `evaluate` takes them: not trained on.
        test: Other images, to report on.
        sensitivity: Share of positive images to find at least, above 0 to 1.
        specificity: Share of negative images to leave alone at least.
        precision: Share that is to be right of what is called positive.
        costs: Of a false positive and of a false negative, each above 0.
        batch_size: Images at a time.
        progress: Called with (done, total).

    Returns:
        A `ThresholdChoice`.

    Raises:
        ValueError: If not exactly one aim is given, the model has other than two
            classes, no threshold reaches the precision, or `test` shares an image with
            `validation`.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["healthy", "ill"])
        >>> pixels = np.repeat([0, 200], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> data = kerastl.ImageSet(pixels, np.repeat([0, 1], 8), ("healthy", "ill"))
        >>> choice = choose_threshold(model, data, sensitivity=0.9)
        >>> choice.positive, choice.chosen.sensitivity
        ('ill', 1.0)

    Reference:
        Elkan (2001), The foundations of cost-sensitive learning, section 1.2.
    """
    pair = None if costs is None else tuple(costs)
    aims = check_aims(sensitivity, specificity, precision, pair)
    bound = bind_known(model)
    names = bound.record.class_names
    if not bound.task.single_class or len(names) != 2:
        fail("model", "a classifier of two classes", f"{bound.task.name}, {len(names)}")
    parts = {"validation": labelled_examples(bound, validation, "validation")}
    if test is not None:
        parts["test"] = labelled_examples(bound, test, "test")
    marks = {name: _marks(part) for name, part in parts.items()}
    if test is not None and (shared := len(marks["validation"] & marks["test"])):
        hint = "A threshold is reported on images that did not choose it."
        noun = parts["test"].noun
        fail("test", f"of other {noun}s than validation", f"{shared} shared", hint)
    points: dict[str, OperatingPoint] = {}
    for name, part in parts.items():
        labels = check_scorable(bound, part)
        scores = predicted(bound, part, batch_size, progress=progress)[0]
        given = labels, scores.probabilities[:, 1]
        if name == "validation":
            threshold = threshold_at(*given, **aims)
        points[name] = operating_point(*given, threshold=threshold)
    aim = {name: list(v) if isinstance(v, tuple) else v for name, v in aims.items()}
    kept = {"threshold": threshold, "aim": aim, "images": sorted(marks["validation"])}
    set_operating(model, kept)
    return ThresholdChoice(names[1], aim, points["validation"], points.get("test"))


def _marks(examples: Any) -> set[str]:
    """The beginning of each example's digest: enough to know it again."""
    return {digest[:12] for digest in examples.digests().tolist()}


def shared_with_choice(bound: BoundModel, examples: Any) -> int:
    """How many of the examples the model's threshold was chosen by."""
    kept = bound.record.operating
    return len(_marks(examples) & set(kept["images"])) if kept else 0
