"""Detection: a box, a class and a score for each object in an image."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from kerastl._checks import check_number, fail, passed_on, warn
from kerastl._files import whole_file
from kerastl._tables import Tabular
from kerastl.data.boxes import Boxes, clip_boxes, convert_boxes, placing_matrix
from kerastl.data.decoding import own_size
from kerastl.data.sets import ImageSet, Splits
from kerastl.evaluation.box_plots import box_overlay, judge_boxes, plot_boxes
from kerastl.evaluation.detection import average_precision, non_maximum_suppression
from kerastl.models.decoders import DecoderStyle, feature_maps
from kerastl.tasks.anchors import Anchors, as_targets, check_levels, decode_boxes
from kerastl.tasks.building import assemble, head_names
from kerastl.tasks.classification import names_of_classes
from kerastl.tasks.detection_report import DetectionReport, detection_report
from kerastl.tasks.detectors import DetectorKind, find_detector, pyramid
from kerastl.tasks.task import Task, register_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Scores below are no detections, not even for the average precision.
_LEAST = 0.001
#: Of an image: pairs of anchor and class to choose from, and objects at most.
_CANDIDATES, _MOST = 1000, 100
_OVERLAP = 0.5
#: Share of a class's objects that anchors should fit.
_ENOUGH = 0.5
_EXAMPLES = 6
#: What the four numbers of a box are.
_SIDES = ("left", "top", "right", "bottom")
#: Pixels of the longer side that `transfer` trains on.
_USUAL = 256


@dataclass(frozen=True, eq=False)
class Detections(Tabular):
    """Detected objects, in the pixels of each image's own file, the surest first.

    All are kept that may count for an average precision, the unsure ones too. What
    iterates, is written and is drawn are those of a score of at least `threshold`.

    Attributes:
        class_names: Names in the order of the indices.
        boxes: For each image float32 `(k, 4)`: left, top, right, bottom in pixels.
        classes: For each image int64 `(k,)`.
        scores: For each image float32 `(k,)`, in [0, 1].
        paths: File of each image, or None for arrays.
        threshold: Score from which an object is told.
        left_out: Files that could not be read, where they were to be skipped.
    """

    class_names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    classes: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]
    paths: tuple[str, ...] | None = None
    threshold: float = 0.3
    left_out: tuple[str, ...] = ()

    #: Names of the columns of `to_rows`.
    columns: ClassVar[tuple[str, ...]] = ("path", "name", "score", *_SIDES)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.boxes)

    def above(self, threshold: float) -> "Detections":
        """Those of a score of at least `threshold`, in [0, 1]."""
        check_number("threshold", threshold, 0.0, 1.0)
        kept = [scores >= threshold for scores in self.scores]
        chosen = {
            name: tuple(
                rows[keep] for rows, keep in zip(getattr(self, name), kept, strict=True)
            )
            for name in ("boxes", "classes", "scores")
        }
        return replace(self, threshold=threshold, **chosen)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary an image: `path`, `objects` with `name`, `score`, `box`."""
        told = self.above(self.threshold)
        for number in range(len(self)):
            rows = zip(
                told.classes[number].tolist(),
                told.scores[number].tolist(),
                told.boxes[number].tolist(),
                strict=True,
            )
            yield {
                "path": self.paths[number] if self.paths else None,
                "objects": [
                    {"name": self.class_names[kind], "score": score, "box": box}
                    for kind, score, box in rows
                ],
            }

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary an object: `path`, `name`, `score`, and the box's four sides.

        They are in pixels of the file; an image without an object has no row.
        """
        return [
            {"path": image["path"], "name": one["name"], "score": one["score"]}
            | dict(zip(_SIDES, one["box"], strict=True))
            for image in self
            for one in image["objects"]
        ]

    def draw(self, folder: str | Path) -> tuple[Path, ...]:
        """Write each image with its objects drawn on it: `NAME-boxes.png`.

        Args:
            folder: Made if it does not exist.

        Returns:
            The files, in order.

        Raises:
            ValueError: If these are objects in arrays, or two files have one name.
        """
        from PIL import Image

        if self.paths is None:
            fail("predictions", "those of files", "predictions for arrays")
        names = [f"{Path(path).stem}-boxes.png" for path in self.paths]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            fail("predictions", "for files of different names", twice)
        written = []
        Path(folder).mkdir(parents=True, exist_ok=True)
        for number, (path, name) in enumerate(zip(self.paths, names, strict=True)):
            drawn = self.drawn(number, own_size(path))
            with whole_file(Path(folder) / name) as draft:
                Image.fromarray(drawn).save(draft, format="PNG")
            written.append(Path(folder) / name)
        return tuple(written)

    def drawn(
        self, number: int, pixels: np.ndarray, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """An image with its objects drawn on it.

        Args:
            number: Its place among the predictions.
            pixels: uint8 `(h, w, 3)`, at its own size or a smaller one.
            size: Its own `(height, width)`; None: that of `pixels`.
        """
        told = self.above(self.threshold)
        kinds, scores = told.classes[number], told.scores[number]
        texts = [
            f"{self.class_names[kind]} {score:.2f}"
            for kind, score in zip(kinds, scores, strict=True)
        ]
        own, here = size or pixels.shape[:2], pixels.shape[:2]
        scale = np.tile((here[1] / own[1], here[0] / own[0]), 2)
        return box_overlay(pixels, told.boxes[number] * scale, kinds, texts)

    def to_coco(self, image_sizes: Sequence[tuple[int, int]] | None = None) -> dict:
        """The objects as COCO's json has them, with scores; `load_images` reads it.

        Args:
            image_sizes: `(height, width)` of each image, to be written down; or None.

        Returns:
            `images`, `annotations` (`bbox` is left, top, width, height) and
            `categories`, whose ids begin at 1.
        """
        told, found = self.above(self.threshold), []
        images: list[dict[str, Any]] = []
        for number in range(len(self)):
            name = Path(self.paths[number]).name if self.paths else f"{number:04d}"
            images.append({"id": number + 1, "file_name": name})
            if image_sizes is not None:
                height, width = image_sizes[number]
                images[-1] |= {"height": int(height), "width": int(width)}
            boxes = convert_boxes(told.boxes[number], "xyxy", "xywh")
            for box, kind, score in zip(
                boxes.tolist(), told.classes[number], told.scores[number], strict=True
            ):
                entry = {"id": len(found) + 1, "image_id": number + 1, "iscrowd": 0}
                entry |= {"category_id": int(kind) + 1, "bbox": box}
                found.append(entry | {"area": box[2] * box[3], "score": float(score)})
        kinds = [{"id": k, "name": n} for k, n in enumerate(self.class_names, 1)]
        return {"images": images, "annotations": found, "categories": kinds}

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the objects to `detections.json`, a COCO file, in a folder.

        Args:
            folder: Made if it does not exist.

        Returns:
            The file.
        """
        path = Path(folder) / "detections.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            draft.write_text(json.dumps(self.to_coco()), encoding="utf-8")
        return (path,)


@register_task
@dataclass(frozen=True)
class DetectionTask(Task):
    """The objects in each image: which, where, and how sure.

    Attributes:
        class_names: Names in the order of the indices, one or more.
        kind: `"ssd"`, `"retinanet"` or `"yolo"`: see `build_detector`.
        anchors: What the outputs are measured from; None until a network is known.
        levels: Powers of two of the strides at which objects are looked for.
        labels: Boxes that the anchors are fitted to when a network is known; no part
            of the model's record.

    Raises:
        ValueError: If there is no class, or the kind is unknown.

    Example:
        >>> from kerastl.tasks import DetectionTask
        >>> task = DetectionTask(("cell",), "retinanet")
        >>> task.units, task.monitor
        (5, 'val_ap50')
    """

    class_names: tuple[str, ...]
    kind: str = "ssd"
    anchors: Anchors | None = None
    levels: tuple[int, ...] = (3, 4, 5)
    labels: Boxes | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str] = "detection"
    # The loss rises with the sureness of some boxes while more and more are found.
    monitor: ClassVar[str] = "val_ap50"
    scores_epochs: ClassVar[bool] = True
    folder_labels: ClassVar[str | None] = "boxes"
    # An image has hundreds of examples, and a head of many layers soon knows them by
    # heart on features that never change (benchmarks/detection.md).
    usual_batch: ClassVar[int] = 4
    head_epochs: ClassVar[int] = 4
    dense: ClassVar[bool] = True
    answer_parts: ClassVar[Mapping[str, slice]] = {
        "boxes": slice(0, 4),
        "scores": slice(4, None),
    }
    output_name: ClassVar[str] = "detections"
    model_name: ClassVar[str] = "detector"
    headline: ClassVar[Mapping[str, str]] = {"ap50": "share", "ap": "share"}
    picture_names: ClassVar[tuple[str, ...]] = ("detections",)

    def __post_init__(self) -> None:
        """Check the fields against each other."""
        if not self.class_names:
            fail("classes", "one or more names", self.class_names)
        find_detector(self.kind)
        levels = self.levels if self.anchors is None else self.anchors.levels
        object.__setattr__(self, "levels", check_levels(levels))
        if self.anchors is not None:
            self.detector.check_anchors(self.anchors)

    @property
    def detector(self) -> DetectorKind:
        """The kind itself."""
        return find_detector(self.kind)

    @property
    def units(self) -> int:
        """Numbers at each anchor: a box and a logit a class."""
        return 4 + len(self.class_names)

    def on_network(self, network: keras.Model, resize: str) -> "DetectionTask":
        """The same with anchors at the cells of a network's feature maps.

        Args:
            network: The backbone, of one image size.
            resize: How images are brought to that.
        """
        size = tuple(network.input_shape[1:3])
        anchors = self.anchors
        if anchors is not None and anchors.image_size != size:
            hint = "Fit them for the size that the network takes."
            fail("anchors", f"for images of {size}", anchors.image_size, hint)
        if anchors is None and self.labels is not None:
            anchors = self.detector.fit_anchors(self.labels, size, resize, self.levels)
        elif anchors is None:
            anchors = self.detector.plain_anchors(size, self.levels)
        maps = feature_maps(network)
        grids, last = [], max(maps)
        for level in self.levels:
            stride = 2**level
            if stride <= last and stride not in maps:
                own = [s.bit_length() - 1 for s in sorted(maps)]
                fail("levels", f"among {own}, the backbone's, or above", self.levels)
            grid = maps[min(stride, last)].shape[1:3]
            times = max(1, stride // last)
            grids.append(tuple(-(-side // times) for side in grid))
        return replace(self, anchors=anchors.on(grids))

    def usual_size(self, data: ImageSet) -> tuple[int, int] | None:
        """The images' own shape, of at most 256 pixels: small objects need them."""
        height, width = np.median(self.targets(data).image_sizes, axis=0)
        scale = min(1.0, _USUAL / max(height, width))
        sides = (max(32, 32 * round(side * scale / 32)) for side in (height, width))
        return tuple(map(int, sides))

    def attach(
        self,
        network: keras.Model,
        seed: int | None,
        style: DecoderStyle | None = None,
    ) -> tuple[keras.KerasTensor, Sequence[str]]:
        """A feature pyramid and the kind's heads on it."""
        style = style or DecoderStyle()
        levels = pyramid(feature_maps(network), self.levels, style)
        count = len(self.class_names)
        outputs = self.detector.attach(levels, self.anchors, count, style)
        return outputs, head_names(network, outputs, seed)

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """That of the kind, over the anchors of each image."""
        if label_smoothing:
            fail("label_smoothing", "0 for boxes", label_smoothing)
        return self.detector.loss()

    def metrics(self) -> list[keras.metrics.Metric]:
        """None: an average precision needs all images, see `epoch_scores`."""
        return []

    def epoch_scores(self, targets: Any, outputs: np.ndarray) -> dict[str, float]:
        """`ap50`: average precision at an overlap of one half, as `evaluate` has it.

        Args:
            targets: `DenseTargets` of `Boxes`.
            outputs: `(n, A, 4 + classes)`.

        Returns:
            Nothing where no image has an object.
        """
        labels = targets.labels
        found = self.placed(self.decode(outputs), labels.image_sizes, targets.resize)
        truth = list(zip(labels.boxes, labels.classes, strict=True))
        names = self.class_names
        scores = average_precision(truth, found, class_names=names, resamples=0)
        ap50 = scores.overall.ap50
        return {} if ap50 is None else {"ap50": float(ap50)}

    def check(self, targets: Any) -> None:
        """Raise unless these are boxes of the task's classes, or encoded ones."""
        if isinstance(targets, Boxes):
            self.check_names(targets.class_names, "labels")
            return
        shape = np.shape(targets)
        count = shape[1:2] if self.anchors is None else (len(self.anchors),)
        if len(shape) != 3 or shape[1:] != (*count, 6):
            hint = "Pass kerastl.Boxes, or what `task.encode` made of them."
            wanted = f"boxes, or of shape (n, {count[0] if count else 'A'}, 6)"
            fail("labels", wanted, shape, hint)
        classes, last = np.asarray(targets)[..., 4], len(self.class_names) - 1
        if classes.size and not -1 <= classes.min() <= classes.max() <= last:
            shown = [float(classes.min()), float(classes.max())]
            fail("labels", f"of classes -1 to {last}", shown)

    def targets(self, data: ImageSet, name: str = "image_set") -> Boxes:
        """The set's boxes, checked."""
        if not isinstance(data.labels, Boxes) or not len(data):
            fail(name, "images with boxes", data)
        self.check_names(data.class_names, name)
        data.labels.check_images(data.images, name)
        return data.labels

    def check_set(self, data: ImageSet, name: str) -> None:
        """Raise unless the set has boxes; say which classes the anchors do not fit."""
        labels = self.targets(data, name)
        if not any(map(len, labels.boxes)):
            fail(name, "images with at least one box", data)
        if name != "train" or not self.detector.has_shapes or self.anchors is None:
            return
        recall = self.anchors.recall(labels)
        poor = [f"{k} {share:.0%}" for k, share in recall.items() if share < _ENOUGH]
        if poor:
            warn(
                f"Too few objects of {name} have an anchor that overlaps by half: "
                f"{', '.join(poor)}. Pass the images to build_detector, which fits "
                "anchors to them, or take larger images."
            )

    def check_names(self, names: tuple[str, ...], name: str) -> None:
        """Raise unless these are the model's class names, in the model's order."""
        if names != self.class_names:
            hint = f"The model's classes are {', '.join(self.class_names[:12])}."
            fail(name, "with the model's classes, in order", names, hint)

    def labelled(self, images: Any, targets: Any) -> ImageSet:
        """Arrays of images and boxes as a set."""
        if not isinstance(targets, Boxes):
            fail("labels", "kerastl.Boxes", type(targets).__name__, error=TypeError)
        return ImageSet(images, targets)

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """What the loss takes, `(b, A, 6)`, from rows of boxes `(b, k, 5)`.

        Rows of class -1 are padding: how many there are does not matter.
        """
        anchors, found = self.anchors, []
        for rows in np.asarray(targets):
            rows = rows[rows[:, 4] >= 0].astype(np.float64)
            boxes, classes = rows[:, :4], rows[:, 4]
            match = self.detector.match(boxes, anchors)
            found.append(as_targets(boxes, classes, match, anchors.boxes))
        return np.stack(found) if found else np.zeros((0, len(anchors), 6), np.float32)

    def decode(self, outputs: Any) -> np.ndarray:
        """Boxes in the network's pixels and scores, `(n, A, 4 + classes)`, float32."""
        outputs = np.asarray(outputs, np.float64)
        boxes = decode_boxes(outputs[..., :4], self.anchors.boxes)
        scores = self.detector.scores(outputs[..., 4:])
        return np.concatenate([boxes, scores], axis=-1).astype(np.float32)

    def answers(self, outputs: Any) -> Any:
        """The same in the network."""
        boxes = decode_boxes(outputs[..., :4], self.anchors.boxes, keras.ops)
        scores = self.detector.answers(outputs[..., 4:])
        return keras.ops.concatenate([boxes, scores], axis=-1)

    def mirrored(self, decoded: np.ndarray) -> np.ndarray:
        """What was decoded of mirror images, as of the images themselves."""
        places, start = [], 0
        for (rows, columns), shapes in zip(
            self.anchors.grids, self.anchors.shapes, strict=True
        ):
            grid = start + np.arange(rows * columns * len(shapes))
            grid = grid.reshape(rows, columns, len(shapes))
            places.append(grid[:, ::-1].ravel())
            start += grid.size
        turned = decoded[:, np.concatenate(places)]
        width = self.anchors.image_size[1]
        left, right = width - turned[..., 2], width - turned[..., 0]
        turned[..., 0], turned[..., 2] = left, right
        return turned

    def placed(
        self, decoded: np.ndarray, sizes: Sequence[tuple[int, int]], resize: str
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(boxes, classes, scores) of each image in its pixels, each object once."""
        found = []
        for rows, size in zip(decoded, sizes, strict=True):
            boxes, classes, scores = _candidates(rows, self.anchors.image_size)
            kept = non_maximum_suppression(
                boxes, scores, classes, threshold=_OVERLAP, limit=_MOST
            )
            matrix = placing_matrix(size, self.anchors.image_size, resize)
            scale, shift = matrix[[0, 1], [0, 1]], matrix[:2, 2]
            own = (boxes[kept].reshape(-1, 2, 2) - shift) / scale
            own = clip_boxes(own.reshape(-1, 4), size).astype(np.float32)
            # What lies in the padding is nowhere in the file.
            inside = ((own[:, 2:] - own[:, :2]) > 0).all(axis=1)
            found.append((own[inside], classes[kept][inside], scores[kept][inside]))
        return found

    def predictions(
        self, decoded: Sequence[Any], paths: tuple[str, ...] | None = None
    ) -> Detections:
        """The objects with their names."""
        columns = zip(*decoded, strict=True) if len(decoded) else ((), (), ())
        boxes, classes, scores = map(tuple, columns)
        return Detections(self.class_names, boxes, classes, scores, paths)

    def report(
        self,
        targets: Boxes,
        predictions: Detections,
        seconds: float | None = None,
    ) -> DetectionReport:
        """Average precision of each class and size, with intervals over images."""
        told = zip(
            predictions.boxes, predictions.classes, predictions.scores, strict=True
        )
        scores = average_precision(
            list(zip(targets.boxes, targets.classes, strict=True)),
            list(told),
            class_names=self.class_names,
        )
        each = [self._counts(targets, predictions, i) for i in range(len(targets))]
        return detection_report(
            scores,
            np.sum(each, axis=0),
            self.anchors.recall(targets) if self.detector.has_shapes else {},
            predictions.threshold,
            len(targets),
            seconds,
        )

    def _counts(self, targets: Boxes, said: Detections, i: int) -> list[int]:
        """Numbers of objects found, missed and invented in one image."""
        found, invented = judge_boxes(*_pair(targets, said, i))
        return [int(found.sum()), int((~found).sum()), int(invented.sum())]

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The average precision at an overlap of one half, with its interval."""
        if scores["ap50"] is None:
            return "no object of any class"
        text = f"AP50 {scores['ap50']:.1%}"
        if scores["ap50_interval"] is not None:
            low, high = scores["ap50_interval"]
            text += f" ({low:.1%} to {high:.1%})"
        return text

    def pictures(
        self,
        targets: Boxes,
        predictions: Detections,
        pixels: Callable[[np.ndarray], Sequence[np.ndarray]],
    ) -> "dict[str, Figure]":
        """The images with most objects missed and invented."""
        counts = [self._counts(targets, predictions, i) for i in range(len(targets))]
        wrong = -np.array(counts)[:, 1:].sum(axis=1)
        chosen = np.argsort(wrong, kind="stable")[:_EXAMPLES]
        pairs = [_pair(targets, predictions, i) for i in chosen.tolist()]
        figure = plot_boxes(
            pixels(chosen),
            truth=[pair[0] for pair in pairs],
            told=[pair[1] for pair in pairs],
            class_names=self.class_names,
        )
        return {"detections": figure}

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether the images have boxes."""
        return isinstance(data.labels, Boxes)

    @classmethod
    def from_set(cls, data: ImageSet) -> "DetectionTask":
        """The task of the boxes' class names, with anchors to be fitted to them."""
        if not cls.fits(data):
            fail("data", "images with boxes", data)
        return cls(data.class_names, labels=data.labels)

    def to_config(self) -> dict[str, Any]:
        """A JSON-ready dictionary: the name and the fields, without any boxes."""
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "kind": self.kind,
            "levels": list(self.levels),
            "anchors": self.anchors and self.anchors.to_config(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DetectionTask":
        """Rebuild from `to_config`."""
        anchors = config.get("anchors")
        return cls(
            tuple(config["class_names"]),
            config["kind"],
            anchors and Anchors.from_config(anchors),
            tuple(config["levels"]),
        )


def _pair(
    targets: Boxes, said: Detections, i: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """(true boxes and classes, told boxes, classes and scores) of one image."""
    keep = said.scores[i] >= said.threshold
    told = said.boxes[i][keep], said.classes[i][keep], said.scores[i][keep]
    return (targets.boxes[i], targets.classes[i]), told


def _candidates(
    rows: np.ndarray, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, classes and scores of an image's surest pairs of anchor and class."""
    scores = rows[:, 4:]
    anchors, classes = np.nonzero(scores >= _LEAST)
    sure = scores[anchors, classes]
    order = np.argsort(-sure, kind="stable")[:_CANDIDATES]
    boxes = clip_boxes(rows[anchors[order], :4], image_size)
    whole = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    return boxes[whole], classes[order][whole], sure[order][whole]


def build_detector(
    backbone: str | Path | keras.Model,
    classes: Any,
    *,
    kind: str = "ssd",
    anchors: str | Anchors = "auto",
    levels: Sequence[int] = (3, 4, 5),
    width: int = 64,
    separable: bool = True,
    norm: str = "group",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "pad",
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    preprocessing: str | keras.layers.Layer | None = None,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled detector: a frozen backbone, a feature pyramid, and heads on it.

    One plain functional model with one output: at each anchor four numbers for the box
    and a logit a class. Boxes are encoded in the data's pipeline and decoded after
    `predict`, which gives them in the pixels of each file. Pyramid and heads are the
    model's head: `freeze`, phases, the best weights, saving and caching are those of a
    classifier.

    Args:
        backbone: As for `build_classifier`; it must end in a feature map.
        classes: Class names in the order of the indices, or their number; or the
            training images, splits or `Boxes`, which bring their names and what anchors
            are fitted to. Background is no class.
        kind: `"ssd"` (one softmax, hard background, a light head), `"retinanet"` (focal
            loss, a head for all levels) or `"yolo"` (anchor-free, cells around the
            objects' centres; not one of the published YOLO networks: see
            `kerastl/tasks/yolo.py`).
        anchors: `"auto"`: fitted to the training images, or without any squares and
            oblongs of two strides and more; or `Anchors`, as from `fit_anchors`.
        levels: Powers of two of the strides at which objects are looked for, ascending:
            3 is every 8 pixels. Small objects need a low one; above the backbone's last
            the pyramid goes on.
        width: Channels of pyramid and heads.
        separable: Whether their convolutions are depthwise separable.
        norm: `"group"`, which does not depend on the batch; `"batch"` or `"none"`.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's own.
        resize: How images of another size are brought to it: `"pad"` keeps their shape,
            so that a circle stays one; `"stretch"` or `"crop"`.
        weights: For a backbone given by name: see `build_backbone`.
        alpha: Width multiplier, for a backbone given by name.
        preprocessing: For a foreign model: see `build_classifier`.
        precision: See `build_classifier`. The outputs are float32.
        seed: For the head, and a backbone built here with `weights=None`.
        learning_rate: For a plain `model.fit`; `run_phases` compiles anew.

    Returns:
        A compiled functional `keras.Model`, `(n, height, width, 3)` to float32
        `(n, anchors, 4 + classes)`.

    Raises:
        ValueError: If an argument is out of range, the backbone ends in no map or lacks
            a level, or anchors are for another size.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_detector(backbone, ["cat", "dog"], kind="yolo")
        >>> model.output_shape  # 12 x 12, 6 x 6 and 3 x 3 cells
        (None, 189, 6)

    Reference:
        Liu et al. (2016), SSD, arXiv:1512.02325; Lin et al. (2017), Focal loss for
        dense object detection, arXiv:1708.02002; Lin et al. (2017), Feature pyramid
        networks, arXiv:1612.03144, section 3.
    """
    task = _task_of(classes, kind, anchors, levels)
    style = DecoderStyle(width, separable, norm)

    def attach(
        network: keras.Model, task: DetectionTask
    ) -> tuple[keras.KerasTensor, Sequence[str]]:
        return task.attach(network, seed, style)

    return assemble(backbone, task, attach, **passed_on(locals(), assemble))


def _task_of(
    classes: Any, kind: str, anchors: str | Anchors, levels: Sequence[int]
) -> DetectionTask:
    """The task that `build_detector` was asked for."""
    if isinstance(anchors, str):
        if anchors != "auto":
            fail("anchors", "'auto' or kerastl.tasks.Anchors", anchors)
        given = None
    elif isinstance(anchors, Anchors):
        given = anchors
    else:
        kind_of = type(anchors).__name__
        fail("anchors", "'auto' or kerastl.tasks.Anchors", kind_of, error=TypeError)
    if isinstance(classes, DetectionTask):
        return classes
    if isinstance(classes, Splits):
        classes = classes.train
    labels = classes.labels if isinstance(classes, ImageSet) else classes
    if isinstance(labels, Boxes):
        return DetectionTask(labels.class_names, kind, given, tuple(levels), labels)
    if isinstance(classes, ImageSet):
        fail("classes", "names, their number, or images with boxes", classes)
    names = (str(0),) if classes == 1 else names_of_classes(classes)
    return DetectionTask(names, kind, given, tuple(levels))
