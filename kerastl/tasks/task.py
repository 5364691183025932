"""What is asked of a network, as one object; and a model with what it says of itself.

A task owns everything that must agree about a question: the head's width, loss and
metrics, what a wrong target is, what the outputs mean, the report and its pictures.
Nothing outside `kerastl/tasks/` asks which task it has before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from kerastl._checks import fail, nearest
from kerastl._compat import note_process
from kerastl.data.dense import check_not_dense
from kerastl.data.pairs import are_names
from kerastl.data.sets import ImageSet
from kerastl.data.sources import text_source
from kerastl.models.layers import TaskOutputs
from kerastl.models.record import Record, find_record, read_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kerastl.data.texts import TextSet
    from kerastl.models.tokenizing import TextEncoder


class Task(ABC):
    """What is asked of a network. Each kind is a frozen dataclass, known by its name.

    The fields are what a model must remember to answer (class names, the scale of
    numbers): plain Python values, tuples and strings, since they travel as JSON in the
    model's file. Decorate the class with `register_task`, and `build_model`,
    `run_phases`, `save_model`, `load_model`, `predict` and `evaluate` know it.

    Of its methods, `targets` are as `check` takes them, one row an example; `decoded`
    is what `decode` gave; `data` is a set of examples, and `name` the argument's name,
    for errors. What does not fit is a `ValueError`.

    Attributes:
        name: What the JSON and `task=` call it.
        monitor: The logged quantity that `monitor="auto"` means.
        single_class: Whether each example has exactly one class: what class weights,
            samples by class and probes need.
        dense: Whether the targets are `DenseLabels`: of places in the images.
        of_tokens: Whether it asks something of each token of a text.
        has_temperature: Whether the outputs are logits that a temperature divides.
        answer_parts: What stands where in the last axis of what `decode` gives.
        any_size: Whether an image shown larger has the same answer.
        folder_labels: `"masks"` or `"boxes"`, what it reads of a folder that has both.
        usual_batch: Images in an optimizer step, by default.
        fine_rate: Peak rate of loaded weights under AdamW, BatchNorm statistics held.
        head_epochs: Epochs in which the recipes train a new head on frozen features.
        scores_epochs: Whether `epoch_scores` measures something.
        output_name: Name of the last layer.
        model_name: What ends the name of a model built for it.
        headline: Numbers of a report's `to_dict()` that sum it up, and how each is
            printed: `"share"` or `"number"`.
        picture_names: Names that `pictures` may give.

    Example:
        >>> from kerastl.tasks import task_from_config
        >>> config = {"name": "multiclass", "class_names": ["cat", "dog", "owl"]}
        >>> task = task_from_config(config)
        >>> task.units, round(task.chance_loss, 3)
        (3, 1.099)
        >>> task.to_config() == config
        True
    """

    name: ClassVar[str]
    monitor: ClassVar[str] = "val_loss"
    single_class: ClassVar[bool] = False
    dense: ClassVar[bool] = False
    of_tokens: ClassVar[bool] = False
    has_temperature: ClassVar[bool] = False
    answer_parts: ClassVar[Mapping[str, slice]] = {"numbers": slice(None)}
    any_size: ClassVar[bool] = False
    folder_labels: ClassVar[str | None] = None
    usual_batch: ClassVar[int] = 32
    # Photos near ImageNet do best at 3e-4, drawings far from it at 1e-3
    # (benchmarks/defaults.md).
    fine_rate: ClassVar[float] = 5e-4
    head_epochs: ClassVar[int] = 20
    scores_epochs: ClassVar[bool] = False
    output_name: ClassVar[str] = "outputs"
    model_name: ClassVar[str] = "model"
    headline: ClassVar[Mapping[str, str]] = {}
    picture_names: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def units(self) -> int:
        """Width of the head's last dense layer, which begins with zeros."""

    @property
    def chance_loss(self) -> float | None:
        """Loss of a new head, which knows nothing; None where nobody can say."""
        return None

    def output_layer(self, record: dict[str, Any]) -> TaskOutputs:
        """The model's last layer: from the head's last dense layer to the outputs."""
        return TaskOutputs(record, name=self.output_name)

    @abstractmethod
    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """The loss on the model's outputs."""

    @abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Fresh metrics on the model's outputs."""

    def epoch_scores(self, targets: Any, outputs: np.ndarray) -> dict[str, float]:
        """What needs all validation examples at once, after an epoch: name -> number.

        Args:
            targets: Those of a source.
            outputs: The model's, one row an example.
        """
        return {}

    @abstractmethod
    def check(self, targets: np.ndarray) -> None:
        """Raise unless the targets, one row an example, fit the task."""

    def check_batch(self, targets: np.ndarray) -> None:
        """Raise unless a batch's targets fit: mixed ones too, where allowed."""
        self.check(targets)

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """What the loss takes, from rows of dense labels moved with their images."""
        return targets

    def targets(self, data: ImageSet, name: str = "image_set") -> np.ndarray:
        """The set's targets, checked, as the model's outputs are ordered."""
        check_not_dense(data.labels, name, f"made for the {self.name} task")
        if data.labels is None or not len(data):
            fail(name, "labelled images", data)
        self.check(data.labels)
        return data.labels

    def check_set(self, data: ImageSet, name: str) -> None:
        """Raise unless the model may train on the set as it is."""
        self.targets(data, name)

    def check_names(self, names: tuple[str, ...], name: str) -> None:
        """Raise unless a set's class names are the model's, in the model's order."""
        return

    def numbered(self, targets: np.ndarray, name: str) -> np.ndarray:
        """Targets as numbers: names of classes, where there are such, as indices."""
        if are_names(targets):
            named = sorted(set(targets.ravel().tolist()))[:5]
            fail(name, f"labelled by numbers for the {self.name} task", named)
        return targets

    def labelled(self, images: Any, targets: Any) -> ImageSet:
        """Arrays of images and targets as a set."""
        self.check(targets)
        numbers = np.asarray(targets, "float64")
        columns = range(numbers.shape[1] if numbers.ndim > 1 else 1)
        names = getattr(self, "target_names", tuple(map(str, columns)))
        return ImageSet(images, numbers, target_names=names)

    def strata(self, targets: np.ndarray) -> np.ndarray | None:
        """The class `(n,)` of each example, for counts by class; None: none."""
        return np.reshape(targets, len(targets)) if self.single_class else None

    @abstractmethod
    def decode(self, outputs: Any) -> np.ndarray:
        """What the outputs mean, in float64, fit to be averaged over views."""

    def answers(self, outputs: Any) -> Any:
        """What `decode` gives, as a part of the network: what an export ends in.

        Args:
            outputs: The model's, symbolic or not.
        """
        return outputs

    def on_network(self, network: keras.Model, resize: str) -> "Task":
        """The task as this backbone is asked it: where its answers depend on its maps.

        Args:
            network: Of one image size.
            resize: How images are brought to that.
        """
        return self

    def usual_size(self, data: ImageSet) -> tuple[int, int] | None:
        """`(height, width)` to train on where nobody says; None: the backbone's own."""
        return None

    def attach(
        self, network: keras.Model, seed: int | None
    ) -> tuple[keras.KerasTensor, Sequence[str]]:
        """The usual head of a dense task: its outputs, and the names of its layers.

        Args:
            network: The backbone, which the task is that of: see `on_network`.
            seed: Draws its kernels; None: as Keras draws them.
        """
        return fail("task", "one with a head of its own, or not dense", self.name)

    def attach_tokens(
        self,
        network: keras.Model,
        sequence: keras.KerasTensor,
        head: Callable[[keras.KerasTensor, list[str]], tuple[Any, list[str]]],
    ) -> tuple[keras.KerasTensor, list[str]]:
        """The outputs of a task of each token, and the names of the head's layers.

        Args:
            network: Of texts.
            sequence: Its output `(n, t, d)`.
            head: Puts dense layers on it; None for a task that has a head of its own.
        """
        return head(sequence, [])

    def encoded(
        self, texts: "TextSet", encoder: "TextEncoder"
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Labelled texts as arrays of ids by name, and what is asked of them.

        Args:
            texts: Checked by `check_set`.
            encoder: The model's.
        """
        source = text_source(texts, encoder)
        return source.inputs, source.targets

    def of_texts(
        self,
        texts: "TextSet",
        encoder: "TextEncoder",
        outputs: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    ) -> Any:
        """What `predict` returns of texts, labelled or not.

        Args:
            texts: At least one.
            encoder: The model's.
            outputs: From arrays of ids by name to the model's outputs.
        """
        found = self.predictions(self.decode(outputs(encoder(texts.texts))))
        return replace(found, texts=texts.texts) if hasattr(found, "texts") else found

    def mirrored(self, decoded: np.ndarray) -> np.ndarray:
        """What was decoded of mirror images, as of the images: for a dense task."""
        return fail("views", f"1 for the {self.name} task", 2)

    def placed(
        self, decoded: np.ndarray, sizes: Sequence[tuple[int, int]], resize: str
    ) -> list[Any]:
        """The answer to each image in its own pixels: for a dense task.

        Args:
            decoded: What `decode` gave for some images.
            sizes: `(height, width)` of each of them.
            resize: How they were brought to the network's size.
        """
        return fail("task", "one of one answer an image", self.name)

    @abstractmethod
    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> Any:
        """What `predict` returns: iterates as one dictionary an example."""

    @abstractmethod
    def report(
        self, targets: np.ndarray, predictions: Any, seconds: float | None = None
    ) -> Any:
        """What `evaluate` returns: `str` is a table, `to_dict()` ready for JSON."""

    def score(self, targets: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
        """Share of right decisions, and loss: what averages are judged by."""
        return fail("model", "a classifier", f"a model for {self.name}")

    @abstractmethod
    def summary(self, scores: Mapping[str, Any]) -> str:
        """A report's `to_dict()` in a few words, such as `"accuracy 95.0% (...)"`."""

    def pictures(
        self,
        targets: np.ndarray,
        predictions: Any,
        pixels: Callable[[np.ndarray], np.ndarray] | None,
    ) -> "dict[str, Figure]":
        """Figures of a scored set, by name; the names are among `picture_names`.

        Args:
            targets: As `targets` gives them.
            predictions: As `predictions` gives them.
            pixels: From indices `(k,)` to pixels 0-255 of those examples; None where
                they are no images.
        """
        return {}

    @classmethod
    def fits(cls, data: ImageSet) -> bool:
        """Whether `task="auto"` means this task for such a set."""
        return False

    @classmethod
    def from_set(cls, data: ImageSet) -> "Task":
        """The task as this training set asks it."""
        return fail("task", "one that can be made from a data set", cls.name)

    def to_config(self) -> dict[str, Any]:
        """A JSON-ready dictionary: the name and the fields."""
        fields = asdict(self)  # type: ignore[call-overload]
        plain = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in fields.items()
        }
        return {"name": self.name, **plain}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Task":
        """Rebuild from `to_config`."""
        return cls(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in config.items()
                if key != "name"
            }
        )


def named_row(predictions: Any, number: int) -> dict[str, Any]:
    """What one row of predictions is of: its `text`, or its `path`, perhaps None."""
    if predictions.texts is not None:
        return {"text": predictions.texts[number]}
    return {"path": predictions.paths[number] if predictions.paths else None}


_TASKS: dict[str, type[Task]] = {}


def register_task(task: type[Task]) -> type[Task]:
    """Make a kind of task known by its `name`, as a decorator or a call.

    A saved model holds only the name and the fields: whoever loads one must have
    imported the module that registers its task.

    Args:
        task: A subclass of `Task`, a frozen dataclass.

    Returns:
        The same class.

    Raises:
        TypeError: If it is no subclass of `Task`.
        ValueError: If it has no name, or another class has that name.

    Example:
        >>> from kerastl.tasks import RegressionTask, register_task
        >>> register_task(RegressionTask) is RegressionTask
        True
    """
    if not (isinstance(task, type) and issubclass(task, Task)):
        fail("task", "a subclass of kerastl.tasks.Task", task, error=TypeError)
    name = getattr(task, "name", None)
    if not isinstance(name, str) or not name:
        fail("task", "a class with a `name`", task.__name__)
    known = _TASKS.get(name)
    if known is not None and _origin(known) != _origin(task):
        fail("task", f"of a new name: {name!r} is {_origin(known)}", _origin(task))
    _TASKS[name] = task
    return task


def _origin(task: type[Task]) -> str:
    return f"{task.__module__}.{task.__qualname__}"


def find_task(name: str) -> type[Task]:
    """The kind of task of that name."""
    if name not in _TASKS:
        hint = nearest(str(name), _TASKS)
        hint += " A task of your own: import the module that registers it first."
        listed = ", ".join(map(repr, sorted(_TASKS)))
        fail("task", f"one of {listed}", name, hint.strip())
    return _TASKS[name]


def task_from_config(config: Mapping[str, Any]) -> Task:
    """The task that `Task.to_config` described.

    Args:
        config: `"name"`, and the fields of that kind of task.

    Returns:
        The task, equal to the one that was described.

    Raises:
        ValueError: If no task is registered under the name.

    Example:
        >>> from kerastl.tasks import task_from_config
        >>> task_from_config({"name": "binary", "class_names": ["no", "yes"]}).units
        1
    """
    return find_task(config["name"]).from_config(config)


def task_of_set(data: ImageSet, task: str | Task = "auto") -> Task:
    """The task that a training set asks: as named, as given, or as it looks."""
    if isinstance(task, Task):
        return task
    if task != "auto":
        return find_task(task).from_set(data)
    for kind in _TASKS.values():
        if kind.fits(data):
            return kind.from_set(data)
    hint = ""
    if data.noun == "text":
        hint = "Without labels a language model can read them: task='language'."
    return fail("data", f"labelled {data.noun}s", data, hint)


def picture_names() -> tuple[str, ...]:
    """Names of the pictures that any registered task may make."""
    return tuple({name: 0 for task in _TASKS.values() for name in task.picture_names})


@dataclass(frozen=True, eq=False)
class BoundModel:
    """A model with what it says of itself: found once in a call, and handed on.

    Attributes:
        model: The model.
        record: Its record, or None for a model that was not built here.
        task: Its task, or None likewise.
    """

    model: keras.Model
    record: Record | None
    task: Task | None

    @property
    def head_layers(self) -> tuple[str, ...]:
        """Names of the layers of the head; empty where nobody can say."""
        return self.record.head_layers if self.record else ()

    @property
    def head_has_learnt(self) -> bool:
        """Whether the head is anything but new: a new one ends in zeros."""
        for name in reversed(self.head_layers):
            # A new head's kernels are zeros; its bias may say how rare things are.
            weights = [w for w in self.model.get_layer(name).weights if w.ndim > 1]
            if weights:
                arrays = map(keras.ops.convert_to_numpy, weights)
                return any(bool(np.any(array)) for array in arrays)
        return True


def bind(model: keras.Model | BoundModel) -> BoundModel:
    """The model with its record and task, or with None for a model of another origin.

    One that is bound already stays as it is, so that a call binds once.
    """
    if isinstance(model, BoundModel):
        return model
    note_process()
    record = find_record(model)
    return BoundModel(model, record, record and task_from_config(record.task))


def bind_known(model: keras.Model) -> BoundModel:
    """The same for a model that must have been built here."""
    read_record(model)
    return bind(model)
