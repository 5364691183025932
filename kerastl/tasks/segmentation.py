"""Segmentation: the class of each pixel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerastl._checks import check_choice, fail, passed_on
from kerastl._files import whole_file
from kerastl._tables import Tabular
from kerastl.data.decoding import own_size, upright_size
from kerastl.data.masks import IGNORE, Masks, fit_mask, unfit_mask
from kerastl.data.sets import ImageSet
from kerastl.evaluation.mask_plots import class_colours, overlay, plot_masks
from kerastl.evaluation.overlap import iou, mean_known, pixel_confusion
from kerastl.models.decoders import DecoderStyle, attach_decoder
from kerastl.tasks.building import assemble, head_names
from kerastl.tasks.classification import names_of_classes
from kerastl.tasks.segmentation_report import SegmentationReport, segmentation_report
from kerastl.tasks.task import Task, register_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES = ("crossentropy", "dice", "crossentropy+dice")
#: Sides in pixels that are trained at where nobody says, and files asked for theirs.
_LARGEST, _SIZED = 256, 200
#: Rows of a figure of examples.
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class MaskPredictions(Tabular):
    """Predicted masks, one an image at the image's own size, in the inputs' order.

    Attributes:
        class_names: Names in the order of the indices.
        masks: uint8 `(height, width)` each: the index of the likeliest class.
        paths: File of each image, or None for arrays.
        colours: uint8 `(classes, 3)`, for files and pictures.
        left_out: Files that could not be read, where they were to be skipped.
    """

    class_names: tuple[str, ...]
    masks: tuple[np.ndarray, ...]
    paths: tuple[str, ...] | None = None
    colours: np.ndarray | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.masks)

    @property
    def shares(self) -> np.ndarray:
        """Share of each class in the pixels of each image, `(n, classes)`."""
        count = len(self.class_names)
        found = [
            np.bincount(mask.ravel(), minlength=count)[:count] / mask.size
            for mask in self.masks
        ]
        return np.array(found).reshape(len(self), count)

    def _heading(self) -> str:
        return f"{len(self)} images: share of each class in the pixels"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path`, and the share of each class by its name."""
        for number, row in enumerate(self.shares.tolist()):
            path = self.paths[number] if self.paths else None
            yield {"path": path, **dict(zip(self.class_names, row, strict=True))}

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write each mask as a PNG whose palette indices are the classes.

        `Masks` reads such files, and any viewer shows them in colours.

        Args:
            folder: Made if it does not exist. Files are named after the images, or by
                number for arrays.

        Returns:
            The files, in order.

        Raises:
            ValueError: If two images would give files of one name.
        """
        from PIL import Image

        folder = Path(folder)
        names, colours = self._names(folder), self._colours
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)], palette[IGNORE] = colours, 255
        written = []
        for name, mask in zip(names, self.masks, strict=True):
            image = Image.fromarray(mask)
            image.putpalette(palette.ravel().tolist())
            written.append(_save(image, folder / f"{name}.png"))
        return tuple(written)

    def draw(self, folder: str | Path) -> tuple[Path, ...]:
        """Write each image with its mask laid over it: `NAME-overlay.png`.

        Args:
            folder: Made if it does not exist.

        Returns:
            The files, in order.

        Raises:
            ValueError: If these are predictions for arrays, or names are not different.
        """
        from PIL import Image

        if self.paths is None:
            fail("predictions", "those of files", "predictions for arrays")
        folder, written = Path(folder), []
        for number, name in enumerate(self._names(folder)):
            laid = self.drawn(number, own_size(self.paths[number]))
            file = folder / f"{name}-overlay.png"
            written.append(_save(Image.fromarray(laid), file))
        return tuple(written)

    def drawn(
        self, number: int, pixels: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """An image with its mask laid over it.

        Args:
            number: Its place among the predictions.
            pixels: uint8 `(h, w, 3)`, at its own size or a smaller one.
            size: Its own `(height, width)`, which is the mask's too.
        """
        mask = fit_mask(self.masks[number], pixels.shape[:2], "stretch")
        return overlay(pixels, mask, self._colours)

    @property
    def _colours(self) -> np.ndarray:
        """Those given, or chosen ones."""
        if self.colours is not None:
            return self.colours
        return class_colours(len(self.class_names))

    def _names(self, folder: Path) -> list[str]:
        """A name for each image's files in the folder, which is made."""
        names = [Path(path).stem for path in self.paths or ()]
        names = names or [f"{number:04d}" for number in range(len(self))]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            fail("folder", "for images of different names", twice[:5])
        folder.mkdir(parents=True, exist_ok=True)
        return names


def _save(image: Any, path: Path) -> Path:
    """Write a picture whole or not at all."""
    with whole_file(path) as draft:
        image.save(draft, format="PNG")
    return path


@register_task
@dataclass(frozen=True)
class SegmentationTask(Task):
    """The class of each pixel: softmax over as many logits as there are classes.

    Attributes:
        class_names: Names in the order of the indices, at least two.
        ignore: What stands in the targets of a stream for pixels of no class; `Masks`
            have 255.
        objective: `"crossentropy"`; `"dice"`, which counts small classes as much as
            large ones; or `"crossentropy+dice"`, their sum.
        colours: Red, green and blue of each class, for files and pictures; none:
            colours are chosen.

    Raises:
        ValueError: If there are fewer than two classes, or a field does not fit them.

    Example:
        >>> from kerastl.tasks import SegmentationTask
        >>> task = SegmentationTask(("sky", "road", "car"))
        >>> task.units, round(task.chance_loss, 3), task.monitor
        (3, 1.099, 'val_mean_iou')
    """

    class_names: tuple[str, ...]
    ignore: int = IGNORE
    objective: str = "crossentropy"
    colours: tuple[tuple[int, ...], ...] = ()

    name: ClassVar[str] = "segmentation"
    monitor: ClassVar[str] = "val_mean_iou"
    dense: ClassVar[bool] = True
    answer_parts: ClassVar[Mapping[str, slice]] = {"probabilities": slice(None)}
    folder_labels: ClassVar[str | None] = "masks"
    # benchmarks/segmentation.md: of few images larger batches make too few steps, and a
    # decoder that began at random is far from done when the backbone opens.
    fine_rate: ClassVar[float] = 2e-3
    usual_batch: ClassVar[int] = 4
    head_epochs: ClassVar[int] = 8
    output_name: ClassVar[str] = "mask_logits"
    model_name: ClassVar[str] = "segmenter"
    headline: ClassVar[Mapping[str, str]] = {"mean_iou": "share"}
    picture_names: ClassVar[tuple[str, ...]] = ("masks",)

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        count = len(self.class_names)
        if not 2 <= count <= IGNORE:
            fail("classes", f"2 to {IGNORE} names", count)
        if 0 <= self.ignore < count:
            fail("ignore", f"no class: below 0 or above {count - 1}", self.ignore)
        check_choice("objective", self.objective, LOSSES)
        # Lists, as they come from JSON.
        colours = tuple(tuple(map(int, colour)) for colour in self.colours)
        object.__setattr__(self, "colours", colours)
        if colours and np.shape(colours) != (count, 3):
            fail("colours", f"of shape ({count}, 3)", np.shape(colours))

    @property
    def units(self) -> int:
        """One logit a class."""
        return len(self.class_names)

    @property
    def chance_loss(self) -> float | None:
        """Loss of a head that knows nothing: log C; with Dice it depends on masks."""
        if self.objective != "crossentropy":
            return None
        return float(np.log(self.units))

    @property
    def palette(self) -> np.ndarray:
        """Colours of the classes, uint8 `(classes, 3)`."""
        if self.colours:
            return np.array(self.colours, np.uint8)
        return class_colours(self.units)

    def attach(
        self,
        network: keras.Model,
        seed: int | None,
        decoder: str | Callable = "unet",
        style: DecoderStyle | None = None,
    ) -> tuple[keras.KerasTensor, Sequence[str]]:
        """A decoder and a logit a class."""
        style = style or DecoderStyle()
        logits = attach_decoder(network, self.units, decoder, style)
        return logits, head_names(network, logits, seed)

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """Mean over the pixels of a batch that are of a class."""
        if label_smoothing:
            fail("label_smoothing", "0 for masks", label_smoothing)
        return MaskLoss(self.objective, self.ignore)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Mean IoU of the pixels of all batches, pooled."""
        return [MeanOverlap(self.units, self.ignore, name="mean_iou")]

    def check(self, targets: Any) -> None:
        """Raise unless these are masks of the task's classes."""
        if isinstance(targets, Masks):
            self._check_names(targets.class_names, "labels")
            return
        masks = np.asarray(targets)
        if masks.dtype.kind not in "uib":
            expected = "integers, the class of each pixel"
            fail("labels", expected, str(masks.dtype), error=TypeError)
        if masks.ndim != 3 and masks.shape[3:] != (1,):
            hint = "Of one-hot masks pass masks.argmax(axis=-1)."
            hint = hint if masks.shape[3:] == (self.units,) else ""
            fail("labels", "masks of shape (n, height, width)", masks.shape, hint)
        kept = masks[masks != self.ignore]
        if kept.size and not 0 <= kept.min() <= kept.max() < self.units:
            strange = np.unique(kept[(kept < 0) | (kept >= self.units)])[:5].tolist()
            expected = f"of classes 0 to {self.units - 1}, or {self.ignore} for none"
            fail("labels", expected, strange)

    def targets(self, data: ImageSet, name: str = "image_set") -> Masks:
        """The set's masks, checked."""
        if not isinstance(data.labels, Masks) or not len(data):
            fail(name, "images with masks", data)
        self._check_names(data.class_names, name)
        data.labels.check_images(data.images, name)
        return data.labels

    def _check_names(self, names: tuple[str, ...], name: str) -> None:
        if names != self.class_names:
            hint = f"The model's classes are {', '.join(self.class_names[:12])}."
            fail(name, "with the model's classes, in order", names, hint)

    def check_names(self, names: tuple[str, ...], name: str) -> None:
        """Raise unless these are the model's class names, in the model's order."""
        self._check_names(names, name)

    def labelled(self, images: Any, targets: Any) -> ImageSet:
        """Arrays of images and masks as a set."""
        if not isinstance(targets, Masks):
            self.check(targets)
            ignore = self.ignore if 0 <= self.ignore <= IGNORE else IGNORE
            targets = Masks(np.asarray(targets), self.class_names, ignore=ignore)
        return ImageSet(images, targets)

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """The masks, with the task's own value where a pixel is of no class."""
        if self.ignore == IGNORE:
            return targets
        return np.where(targets == IGNORE, self.ignore, targets.astype(np.int32))

    def decode(self, outputs: Any) -> np.ndarray:
        """Probabilities `(b, height, width, classes)`, float32: there are many."""
        logits = np.asarray(outputs, np.float32)
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def answers(self, outputs: Any) -> Any:
        """The same in the network."""
        return ops.softmax(outputs)

    def mirrored(self, decoded: np.ndarray) -> np.ndarray:
        """What was decoded of mirror images, as of the images themselves."""
        return decoded[:, :, ::-1]

    def placed(
        self, decoded: np.ndarray, sizes: Sequence[tuple[int, int]], resize: str
    ) -> list[np.ndarray]:
        """The likeliest class of each pixel, at each image's own size."""
        best = decoded.argmax(axis=-1).astype(np.uint8)
        return [
            unfit_mask(mask, size, resize)
            for mask, size in zip(best, sizes, strict=True)
        ]

    def predictions(
        self, decoded: Sequence[np.ndarray], paths: tuple[str, ...] | None = None
    ) -> MaskPredictions:
        """The masks with their names."""
        return MaskPredictions(self.class_names, tuple(decoded), paths, self.palette)

    def report(
        self,
        targets: Masks,
        predictions: MaskPredictions,
        seconds: float | None = None,
    ) -> SegmentationReport:
        """IoU and Dice of each class, with intervals over images."""
        found = self._confusions(targets, predictions.masks)
        return segmentation_report(found, self.class_names, seconds)

    def _confusions(self, targets: Masks, masks: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels by true and predicted class, of each image."""
        pairs = zip((targets.read(i) for i in range(len(targets))), masks, strict=True)
        return np.stack([pixel_confusion(*pair, self.units) for pair in pairs])

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The mean IoU with its interval."""
        if scores["mean_iou"] is None:
            return "no pixel of any class"
        low, high = scores["mean_iou_interval"]
        return f"mean IoU {scores['mean_iou']:.1%} ({low:.1%} to {high:.1%})"

    def pictures(
        self,
        targets: Masks,
        predictions: MaskPredictions,
        pixels: Callable[[np.ndarray], Sequence[np.ndarray]],
    ) -> "dict[str, Figure]":
        """The images with the lowest mean IoU: truth, prediction, errors."""
        scores = mean_known(iou(self._confusions(targets, predictions.masks)))
        chosen = np.argsort(scores, kind="stable")[:_EXAMPLES]
        truth = [targets.read(i) for i in chosen.tolist()]
        predicted = [predictions.masks[i] for i in chosen.tolist()]
        named = {"class_names": self.class_names, "colours": self.palette}
        given = {"masks": truth, "predicted": predicted} | named
        figure = plot_masks(pixels(chosen), **given)
        return {"masks": figure}

    def usual_size(self, data: ImageSet) -> tuple[int, int] | None:
        """The usual size of the images, at most 256 pixels, in whole strides."""
        if data.paths is None:
            sizes = [data.images.shape[1:3]]
        else:
            sizes = [upright_size(path) for path in data.paths[:_SIZED]]
        sides = np.median(sizes, axis=0)
        sides = sides * min(1.0, _LARGEST / sides.max())
        stride = 32
        return tuple(max(2, round(side / stride)) * stride for side in sides.tolist())

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether the images have masks."""
        return isinstance(data.labels, Masks)

    @classmethod
    def from_set(cls, data: ImageSet) -> "SegmentationTask":
        """The task of the masks' class names, and their colours."""
        if not isinstance(data.labels, Masks):
            fail("data", "images with masks", data)
        colours = data.labels.colours
        known = () if colours is None else tuple(map(tuple, colours.tolist()))
        return cls(data.class_names, colours=known)


def build_segmenter(
    backbone: str | Path | keras.Model,
    classes: int | Sequence[str],
    *,
    decoder: str | Callable = "unet",
    width: int = 64,
    separable: bool = True,
    norm: str = "group",
    ignore: int = IGNORE,
    objective: str = "crossentropy",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    preprocessing: str | keras.layers.Layer | None = None,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled segmenter: a frozen backbone, and a decoder that names each pixel.

    The decoder is the head: `freeze`, phases, the best weights, saving and caching are
    those of a classifier. It takes the last feature map of each stride, found in the
    graph, so any backbone and any image size will do. `predict` gives masks at the size
    of each file.

    Args:
        backbone: As for `build_classifier`; it must end in a feature map.
        classes: Class names in the order of the indices, or their number. Name the
            background too, first.
        decoder: `"unet"` (fine borders), `"fpn"` (lighter), `"deeplab"` (wide views of
            the image), or a function: see `kerastl.models.decoders.unet`.
        width: Channels of the decoder's maps: it, not the backbone, takes most of the
            time of small networks.
        separable: Whether its convolutions are depthwise separable: about eight times
            cheaper.
        norm: `"group"`, which does not depend on the batch; `"batch"`, for batches of
            16 and more; or `"none"`.
        ignore: Value that means no class in masks of a stream of batches; sets of
            images have 255 there, see `Masks`.
        objective: `"crossentropy"`, `"dice"` or `"crossentropy+dice"`.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's own.
        resize: How images of another size, and their masks, are brought to it:
            `"stretch"`, `"crop"` or `"pad"`.
        weights: For a backbone given by name: see `build_backbone`.
        alpha: Width multiplier, for a backbone given by name.
        preprocessing: For a foreign model: see `build_classifier`.
        precision: See `build_classifier`. The logits are float32.
        seed: For the decoder, and a backbone built here with `weights=None`.
        learning_rate: For a plain `model.fit`; `run_phases` compiles anew.

    Returns:
        A compiled functional `keras.Model`, `(n, height, width, 3)` to float32 logits
        `(n, height, width, classes)`, zeros at first.

    Raises:
        ValueError: If an argument is out of range, or the backbone ends in no map.

    Example:
        >>> import kerastl
        >>> from kerastl.tasks import build_segmenter
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = build_segmenter(backbone, ["ground", "cell"])
        >>> model.output_shape
        (None, 96, 96, 2)
    """
    task = SegmentationTask(names_of_classes(classes), ignore, objective)
    style = DecoderStyle(width, separable, norm)

    def attach(
        network: keras.Model, task: SegmentationTask
    ) -> tuple[keras.KerasTensor, Sequence[str]]:
        return task.attach(network, seed, decoder, style)

    return assemble(backbone, task, attach, **passed_on(locals(), assemble))


def _as_labels(y_true: Any, ignore: int) -> tuple[Any, Any]:
    """Classes as int32 `(b, h, w)`, 0 where there is none, and where there is one."""
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == 4:
        labels = ops.squeeze(labels, axis=-1)
    known = labels != ignore
    return ops.where(known, labels, 0), known


@keras.saving.register_keras_serializable(package="kerastl")
class MaskLoss(keras.losses.Loss):
    """Cross-entropy on the logits of pixels, Dice, or both; pixels of no class are out.

    The mean is over the pixels of a batch that are of a class. Dice is that of the
    batch's pooled pixels, `1 - 2 sum(p t) / (sum(p) + sum(t))`, averaged over the
    classes that occur in the batch: one that does not can neither be found nor missed.

    Args:
        objective: `"crossentropy"`, `"dice"` or `"crossentropy+dice"`.
        ignore: Value of pixels of no class.
        name: Name in the logs.
        reduction: As for every Keras loss: `"none"` gives one number an image.
        dtype: As for every Keras loss.

    Reference:
        Milletari et al. (2016), V-Net, arXiv:1606.04797, section 3, without squares.
    """

    def __init__(
        self,
        objective: str = "crossentropy",
        ignore: int = IGNORE,
        *,
        name: str = "mask_loss",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.objective = objective
        self.ignore = ignore

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each image; their mean is that of the batch's pixels."""
        labels, known = _as_labels(y_true, self.ignore)
        weights = ops.cast(known, y_pred.dtype)
        count = ops.cast(ops.shape(labels)[0], y_pred.dtype)
        total = 0.0
        if "crossentropy" in self.objective:
            each = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
            # As many shares of the whole as there are images.
            whole = ops.maximum(ops.sum(weights), 1.0)
            total += count * ops.sum(each * weights, axis=(1, 2)) / whole
        if "dice" in self.objective:
            total += self._dice(labels, weights, y_pred) * ops.ones_like(
                weights[:, 0, 0]
            )
        return total

    def _dice(self, labels: Any, weights: Any, logits: Any) -> Any:
        """Mean Dice loss of the classes that occur."""
        shares = ops.softmax(logits, axis=-1) * weights[..., None]
        truth = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        truth = truth * weights[..., None]
        axes = (0, 1, 2)
        both = ops.sum(shares * truth, axis=axes)
        true = ops.sum(truth, axis=axes)
        whole = ops.sum(shares, axis=axes) + true
        occurs = ops.cast(true > 0, logits.dtype)
        each = 1.0 - 2.0 * both / ops.where(true > 0, whole, 1.0)
        return ops.sum(each * occurs) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the loss."""
        own = {"objective": self.objective, "ignore": self.ignore}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kerastl")
class MeanOverlap(keras.metrics.Metric):
    """Mean IoU of the pixels of all batches pooled; pixels of no class count nowhere.

    A class that neither occurs nor is predicted is left out of the mean.

    Args:
        num_classes: Number of classes.
        ignore: Value of pixels of no class.
        name: Name in the logs.
        dtype: As for every Keras metric.
    """

    def __init__(
        self,
        num_classes: int,
        ignore: int = IGNORE,
        name: str = "mean_iou",
        dtype: Any = None,
    ) -> None:
        """See the class."""
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.ignore = ignore
        self.confusion = self.add_weight(
            shape=(num_classes, num_classes), initializer="zeros", name="confusion"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the pixels of one batch."""
        labels, known = _as_labels(y_true, self.ignore)
        given = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        count = self.num_classes**2
        cells = ops.where(known, labels * self.num_classes + given, count)
        cells = ops.reshape(cells, (-1,))
        ones = ops.ones_like(cells, dtype=self.confusion.dtype)
        found = ops.segment_sum(ones, cells, num_segments=count + 1)[:count]
        self.confusion.assign_add(ops.reshape(found, self.confusion.shape))

    def result(self) -> Any:
        """Mean IoU of the classes that occur or are predicted; 0 without any pixel."""
        hit = ops.diagonal(self.confusion)
        either = ops.sum(self.confusion, 0) + ops.sum(self.confusion, 1) - hit
        occurs = ops.cast(either > 0, hit.dtype)
        each = hit / ops.maximum(either, 1.0)
        return ops.sum(each * occurs) / ops.maximum(ops.sum(occurs), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the metric."""
        own = {"num_classes": self.num_classes, "ignore": self.ignore}
        return {**super().get_config(), **own}
