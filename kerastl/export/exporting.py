"""A model for other programs, refused where it answers differently there."""

import base64
import hashlib
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kerastl._checks import check_choice, check_number, fail
from kerastl._files import OutputFolder, one_line, whole_file
from kerastl.data.images import PixelStore
from kerastl.data.inputs import as_image_set
from kerastl.data.sets import ImageSet
from kerastl.evaluation.metrics import wilson_interval
from kerastl.export.formats import FORMATS, Runtime, find_format, write
from kerastl.features.network import run_batches
from kerastl.models.text_layers import find_tokens
from kerastl.prediction import pixel_store
from kerastl.tasks.task import BoundModel, bind_known
from kerastl.teach import photographs

#: What is said of an artifact, in the file beside it.
SIDECAR = "model.json"
_SCHEMA = 1
#: Batches that an artifact is run in, besides one of all images.
_BATCHES = (1, 7)
#: Below it a probability is compared as if it were that.
_LEAST = 1e-7
#: Answers that differ by less, as a share of the largest, are one answer.
_CONSTANT = 1e-4
#: Numbers of an answer that a sidecar holds at most.
_LISTED = 4096
_CHANNELS = {1: "grey", 3: "RGB"}
#: Images to calibrate by and to compare on, at least, and to calibrate by at most.
_FEWEST, _CALIBRATING = 20, 256


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it agrees with the model.

    Attributes:
        path: The folder.
        format: `"onnx"`, `"litert"`, `"savedmodel"` or `"openvino"`.
        bytes: Of the artifact.
        difference: Largest difference between its answers and the model's, as a share
            of the range of the model's answers; of probabilities, of their logarithms.
        tolerance: What was allowed.
        images: How many images both were run on, constant ones included.
        batch_sizes: In batches of which sizes.
        quantize: `"int8"` or None. What stands above is then of the same artifact in
            float32, which must agree before.
        agreement: Of one in int8 its decisions beside the model's, on images that did
            not calibrate it: `images`, `same`, `interval` of that share; and where they
            have labels `accuracy` and `int8_accuracy`, each with its limits.
    """

    path: str
    format: str
    bytes: int
    difference: float
    tolerance: float
    images: int
    batch_sizes: tuple[int, ...]
    quantize: str | None = None
    agreement: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """What was written, and how far it agrees."""
        sizes = ", ".join(map(str, self.batch_sizes))
        kind = f"{self.format} in int8" if self.quantize else self.format
        text = (
            f"{kind}, {self.bytes / 1e6:.2f} MB, in {self.path}\n"
            f"run{' in float32' if self.quantize else ''} on {self.images} images in "
            f"batches of {sizes}: its answers differ by at most {self.difference:.1g} "
            f"of their range ({self.tolerance:g} allowed)"
        )
        if self.agreement is None:
            return text
        text += f"\nin int8 {_agreeing(self.agreement)}"
        for name, words in (("accuracy", "the model"), ("int8_accuracy", "int8")):
            if name in self.agreement:
                share, low, high = self.agreement[name]
                text += f"\naccuracy of {words}: {share:.1%} ({low:.1%} to {high:.1%})"
        return text


def _agreeing(kept: dict[str, Any]) -> str:
    low, high = kept["interval"]
    return (
        f"the same decision on {kept['same'] / kept['images']:.1%} ({low:.1%} to "
        f"{high:.1%}) of {kept['images']} images"
    )


def export_model(
    model: keras.Model,
    path: str | Path,
    *,
    format: Literal["onnx", "litert", "savedmodel", "openvino"] = "onnx",
    quantize: Literal["int8"] | None = None,
    calibration: Any = None,
    tolerance: float = 1e-3,
    min_agreement: float = 0.95,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model for programs without kerastl, and compare its answers first.

    The artifact takes decoded pixels, float32 0-255, and gives what `predict` computes:
    probabilities with the temperature of a calibrated model, numbers in the user's
    units, probabilities of each pixel, or boxes with scores at each anchor. Beside it
    `model.json` says what a client must do before (size, channels, how other sizes are
    brought to it) and what the answers mean, and holds three images with their answers.

    Before anything is put into the folder, the artifact is run in its own runtime on
    images read from files as `model.json` says, and on constant ones, in several sizes
    of batches. Where an answer differs from the model's, nothing is written.

    Args:
        model: Of images, from any `build_...` or `load_model`; on another backend than
            TensorFlow a process of its own writes a copy of it.
        path: A folder, new or empty.
        format: What to write: see `docs/export.md` for what each needs.
        quantize: `"int8"`: weights and activations of 8 bits, for `"onnx"` and
            `"litert"` of classifiers.
        calibration: Images for that, as `predict` takes them, at least 20 and like
            those to come: every other one, up to 256, says how far activations reach,
            the rest compares. Of an `ImageSet` with labels accuracy is measured too.
        tolerance: Largest difference of an answer, as a share of the range of the
            model's answers; of a classifier's probabilities, of their logarithms.
        min_agreement: Share of the compared images on which int8 must decide as the
            model does.
        overwrite: Whether files in the folder may be replaced.

    Returns:
        Where it is, how large, and how far it agrees.

    Raises:
        ValueError: If the artifact answers differently, the model gives the same answer
            to all images, so that nothing can be compared, it cannot be written in that
            format, the folder holds something, or images to calibrate by are missing or
            too few.
        ImportError: If what the format needs is not installed.

    Example:
        >>> import pathlib, tempfile, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "pets"
        >>> kerastl.export_model(model, folder, format="savedmodel")
        Traceback (most recent call last):
            ...
        ValueError: `model` must be one whose answers differ between images...
    """
    found = find_format(format)
    check_number("tolerance", tolerance, above=0.0, below=1.0)
    check_number("min_agreement", min_agreement, 0.0, 1.0)
    bound = bind_known(model)
    _check_exportable(bound, format)
    images = _calibrating(bound, format, quantize, calibration)
    folder = OutputFolder(path, (*found.files, SIDECAR), overwrite)
    with folder, tempfile.TemporaryDirectory() as name:
        place = Path(name)
        expected = _Expected(bound, _probe_files(place))
        made, said = place / "made", _sidecar(bound, format)
        runtime = _made(bound, format, made, None)
        difference = expected.difference(runtime, said["input"])
        if not difference <= tolerance:
            hint = "Nothing was written; a larger `tolerance` would let it pass."
            words = f"{difference:.2g} of their range away from the model's"
            wanted = f"one whose answers agree as {format} within {tolerance:g}"
            fail("model", wanted, words, hint)
        kept = None
        if images is not None:
            made = place / "int8"
            runtime, kept = _quantized(bound, format, made, images, said["input"])
            _check_agreement(kept, format, min_agreement)
        report = ExportReport(
            path=str(folder.path),
            format=format,
            bytes=sum((made / name).stat().st_size for name in found.files),
            difference=difference,
            tolerance=tolerance,
            images=len(expected.answers),
            batch_sizes=(*_BATCHES, len(expected.answers)),
            quantize=quantize,
            agreement=kept,
        )
        parity = {k: v for k, v in report.to_dict().items() if k != "path"}
        said |= {"files": _sums(made, found.files), "parity": parity}
        said["probes"] = expected.probes(runtime if quantize else None)
        _publish(folder, made, found.files, said)
    return report


def _made(
    bound: BoundModel, name: str, folder: Path, calibration: np.ndarray | None
) -> Runtime:
    """Write an artifact into a new folder, and open it."""
    folder.mkdir()
    write(bound, name, folder, calibration)
    return _opened(name, folder / FORMATS[name].file)


def _check_exportable(bound: BoundModel, name: str) -> None:
    """Raise unless the format has the model's numbers, and clients can prepare them."""
    if find_tokens(bound.model) is not None:
        hint = "A client would need its tokenizer; keep to the .keras file."
        fail("model", "of images", f"{bound.model.name}, of texts", hint)
    if bound.record.channels not in _CHANNELS:
        expected = "of images that files hold, RGB or grey"
        fail("model", expected, f"one of {bound.record.channels} channels")
    computes = {layer.compute_dtype for layer in bound.model.layers if layer.weights}
    if name != "savedmodel" and computes - {"float32"}:
        hint = "Export it as savedmodel, which keeps them."
        expected = f"one that computes in float32 for {name}"
        fail("model", expected, f"one in {', '.join(sorted(computes))}", hint)


class _Expected:
    """What a model says of images, to compare an artifact's answers with.

    Args:
        bound: The model.
        files: Images that say how files are read.

    Raises:
        ValueError: If it says the same of all files.
    """

    def __init__(self, bound: BoundModel, files: Sequence[Path]) -> None:
        """See the class."""
        self.parts, self.files = bound.task.answer_parts, tuple(map(str, files))
        self._set = ImageSet(self.files, None, ())
        self.logarithms, record = bound.task.has_temperature, bound.record
        self.constant = _constant_images((*record.image_size, record.channels))
        own = pixel_store(bound, self._set).rows(np.arange(len(files)))
        pixels = np.concatenate([own, self.constant])
        outputs = run_batches(bound.model, lambda rows: pixels[rows], len(pixels))
        self.answers = bound.task.decode(outputs)
        scaled = self._scaled(self.answers)
        # The constant images are not like any that a client sends.
        self.ranges = [np.ptp(part[: len(files)], axis=0).max() for part in scaled]
        sizes = [float(np.abs(part).max()) for part in scaled]
        pairs = zip(self.ranges, sizes, strict=True)
        if not all(spread > _CONSTANT * max(size, 1e-30) for spread, size in pairs):
            hint = "Nothing can be compared: train its head first."
            expected = "one whose answers differ between images"
            fail("model", expected, "one answer to all", hint)

    def _scaled(self, answers: np.ndarray) -> list[np.ndarray]:
        """The parts of answers, probabilities of classes as their logarithms."""
        if self.logarithms:
            answers = np.log(np.maximum(answers, _LEAST))
        return [answers[..., columns] for columns in self.parts.values()]

    def difference(self, runtime: Runtime, said: dict[str, Any]) -> float:
        """The largest difference of an artifact's answers, as a share of their range.

        Args:
            runtime: Runs the artifact.
            said: What its sidecar says of the input: nothing else prepares the images.
        """
        pixels = np.concatenate([_prepared(self._set, said), self.constant])
        self._given, worst = pixels.astype("float32"), 0.0
        for size in (*_BATCHES, len(pixels)):
            got = _run(runtime, self._given[:size])
            if got.shape != self.answers[:size].shape or not np.isfinite(got).all():
                return float("inf")
            both = self._scaled(got), self._scaled(self.answers[:size])
            for ours, theirs, spread in zip(*both, self.ranges, strict=True):
                worst = max(worst, float(np.abs(ours - theirs).max() / spread))
        return worst

    def probes(self, runtime: Runtime | None) -> list[dict[str, Any]]:
        """Three of the files, far apart in their answers, with these.

        Args:
            runtime: Answers in place of the model, where that is rounded.
        """
        count = len(self.files)
        flat = np.stack([np.ravel(row)[:_LISTED] for row in self.answers[:count]])
        apart = np.abs(flat[:, None] - flat[None]).sum(axis=-1)
        first, second = np.unravel_index(apart.argmax(), apart.shape)
        third = np.minimum(apart[first], apart[second]).argmax()
        chosen = [int(first), int(second), int(third)]
        answers = self.answers[chosen]
        if runtime is not None:
            answers = _run(runtime, self._given[chosen])
        return [
            {
                "png": base64.b64encode(Path(self.files[i]).read_bytes()).decode(),
                **_listed(answer),
            }
            for i, answer in zip(chosen, answers, strict=True)
        ]


def _prepared(images: ImageSet, said: dict[str, Any]) -> np.ndarray:
    """Pixels of images, prepared by nothing but what a sidecar says of the input."""
    count = {name: number for number, name in _CHANNELS.items()}
    store = PixelStore(
        images,
        image_size=(said["height"], said["width"]),
        resize=said["resize"],
        channels=count[said["channels"]],
    )
    return store.rows(np.arange(len(images)))


def _listed(answer: np.ndarray) -> dict[str, Any]:
    """An answer as a sidecar holds it: of a large one every so many numbers."""
    flat = np.ravel(answer)
    every = -(-len(flat) // _LISTED)
    return {"every": every, "answer": flat[::every].tolist()}


def _calibrating(
    bound: BoundModel, name: str, quantize: str | None, calibration: Any
) -> ImageSet | None:
    """The images to calibrate by and to compare on; None: float32."""
    if quantize is None:
        if calibration is not None:
            fail("calibration", "left out without `quantize`", type(calibration))
        return None
    check_choice("quantize", quantize, ("int8",))
    if FORMATS[name].quantize is None:
        able = " or ".join(repr(n) for n, each in FORMATS.items() if each.quantize)
        fail("quantize", f"None for this format; {able} have int8", quantize)
    if not bound.task.has_temperature:
        hint = "Whether rounding costs anything is measured by decisions."
        fail("quantize", f"None for the {bound.task.name} task", quantize, hint)
    if calibration is None:
        hint = "Activations are rounded by what such images need."
        fail("calibration", "images like those to come", None, hint)
    record = bound.record
    images = as_image_set(calibration, record.image_size, record.resize)
    if len(images) < _FEWEST:
        fail("calibration", f"at least {_FEWEST} images", len(images))
    return images


def _quantized(
    bound: BoundModel, name: str, folder: Path, images: ImageSet, said: dict[str, Any]
) -> tuple[Runtime, dict[str, Any]]:
    """An artifact in int8, opened, and how often it decides as the model does."""
    calibrating = images.subset(np.arange(0, len(images), 2)[:_CALIBRATING])
    compared = images.subset(np.arange(1, len(images), 2))
    runtime = _made(bound, name, folder, _prepared(calibrating, said))
    store = pixel_store(bound, compared)
    outputs = run_batches(bound.model, store.rows, len(compared))
    pixels = _prepared(compared, said).astype("float32")
    starts = range(0, len(pixels), _BATCHES[-1])
    rounded = [_run(runtime, pixels[s : s + _BATCHES[-1]]) for s in starts]
    both = bound.task.decode(outputs), np.concatenate(rounded)
    decisions = [_decisions(bound, each) for each in both]
    same, total = int((decisions[0] == decisions[1]).all(axis=-1).sum()), len(compared)
    kept = {"images": total, "same": same, "interval": wilson_interval(same, total)}
    if images.labels is not None:
        truth = bound.task.targets(compared).reshape(total, -1)
        names = ("accuracy", "int8_accuracy")
        for key, decided in zip(names, decisions, strict=True):
            right = int((decided == truth).all(axis=-1).sum())
            kept[key] = (right / total, *wilson_interval(right, total))
    return runtime, kept


def _decisions(bound: BoundModel, answers: np.ndarray) -> np.ndarray:
    """What a client decides: the class, or yes or no for each label, `(n, k)`."""
    operating = bound.record.operating
    if not bound.task.single_class:
        return answers >= 0.5
    if operating is not None:
        return answers[:, 1:] >= operating["threshold"]
    return answers.argmax(axis=-1)[:, None]


def _check_agreement(kept: dict[str, Any], name: str, least: float) -> None:
    """Raise unless an artifact in int8 decides as the model does often enough."""
    if kept["same"] < least * kept["images"]:
        hint = "Calibrate by more images like those to come, or leave `quantize` out."
        wanted = f"one that decides as {name} in int8 alike on {least:.0%} of images"
        fail("model", wanted, _agreeing(kept), hint)


def _run(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    """What an artifact answers, in one batch."""
    try:
        return np.asarray(runtime(pixels))
    # Each runtime has exceptions of its own.
    except Exception as error:
        hint = f"Its runtime says: {one_line(error)}."
        return fail("model", "one whose artifact runs", f"{len(pixels)} images", hint)


def _opened(name: str, path: Path) -> Runtime:
    """What runs an artifact."""
    try:
        return FORMATS[name].open(path)
    # Each runtime has exceptions of its own.
    except Exception as error:
        hint = f"Its runtime says: {one_line(error)}."
        return fail("model", f"one that can be read as {name}", path.name, hint)


def _probe_files(place: Path) -> list[Path]:
    """Photographs as PNG files in a folder, wide and tall, none of them square.

    On square ones no policy of resizing differs from another.
    """
    from PIL import Image

    files = []
    for number, pixels in enumerate(photographs().images[::2]):
        cut = pixels[:, :64] if number % 2 else pixels[:64]
        files.append(place / f"{number:02}.png")
        Image.fromarray(cut).save(files[-1])
    return files


def _constant_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Black, white, one colour, and a board of single pixels, `(4, *shape)`."""
    rows, columns, channels = np.indices(shape)
    colour = np.array([200, 30, 90])[channels]
    board = (rows + columns) % 2 * 255
    return np.stack([0 * board, 0 * board + 255, colour, board]).astype("uint8")


def _sidecar(bound: BoundModel, name: str) -> dict[str, Any]:
    """What a client must know of an artifact."""
    record, task = bound.record, bound.task
    config = {k: v for k, v in task.to_config().items() if k != "class_names"}
    height, width = record.image_size
    return {
        "schema": _SCHEMA,
        "format": name,
        "file": FORMATS[name].file,
        "task": config.pop("name"),
        "class_names": list(record.class_names),
        "settings": config,
        "input": {
            "height": height,
            "width": width,
            "channels": _CHANNELS[record.channels],
            "range": [0, 255],
            "type": "float32",
            "layout": "NHWC",
            "resize": record.resize,
            "filter": "antialiased bilinear",
        },
        "output": {
            part: [columns.start or 0, columns.stop]
            for part, columns in task.answer_parts.items()
        },
        "temperature": {"value": record.temperature, "inside": True},
        "threshold": record.operating and record.operating["threshold"],
        "backbone": record.backbone,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    names = ("kerastl", "keras", backend)
    found = {name: sys.modules[name].__version__ for name in names}
    return {**found, "backend": backend, "python": platform.python_version()}


def _sums(made: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each file of an artifact."""
    return {n: hashlib.sha256((made / n).read_bytes()).hexdigest() for n in names}


def _publish(
    folder: OutputFolder, made: Path, names: Sequence[str], said: dict[str, Any]
) -> None:
    """Put an artifact that passed into its folder, each file whole or absent.

    The sidecar goes first and comes last: an artifact beside one is the one it sums.
    """
    folder.remove([SIDECAR])
    for name in names:
        path = folder.writable(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            shutil.copyfile(made / name, draft)
    with whole_file(folder.writable(SIDECAR)) as draft:
        text = json.dumps(said, indent=1, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
