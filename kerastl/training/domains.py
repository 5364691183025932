"""Learning from labelled images with unlabelled ones of another domain beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kerastl._checks import check_choice, check_number, fail, warn
from kerastl._compat import graph_nodes
from kerastl.data.augmentation import Augmentation
from kerastl.data.sources import Source, StreamSource
from kerastl.features.cache import FrozenPart
from kerastl.features.network import source_outputs
from kerastl.features.sources import unlabelled_source
from kerastl.models.layers import is_noise
from kerastl.tasks.task import BoundModel

METHODS = ("mcc", "coral", "dann", "self_training")
#: Those that compare the features of the two domains, not the answers alone.
_OF_FEATURES = ("coral", "dann")
#: Jin et al. (2020), §3.1: what the logits of the class confusion are divided by.
_TEMPERATURE = 2.5
#: Units of the classifier of domains.
_HIDDEN = 64
#: Ganin et al. (2016), §5.2.2: how steeply the weight climbs.
_STEEPNESS = 10.0
_TINY = 1e-12
#: The label of a row of the target; below it stand those with a label guessed.
UNLABELLED = -1


@dataclass(frozen=True)
class Adaptation:
    """What a phase learns of unlabelled target images: `Phase(adapt=Adaptation())`.

    The loss is that of the labelled source images plus `weight` times a term of the
    target ones, which `run_phases(target=...)` brings. Each batch is half source, half
    target; an epoch is one pass over the source. Nothing here sees a target label, and
    nothing here can tell whether it helped: compare candidates by
    `kerastl.adaptation.target_scores`, and keep some labelled target images to look.

    Attributes:
        method: `"mcc"`: classes are confused less with each other on target images.
            `"coral"`: the covariance of the features is that of the other domain.
            `"dann"`: a classifier of the domains is fooled; its results differ more
            between seeds than the others', by tens of points. `"self_training"`: the
            most confident of each predicted class keep their class as a label.
        weight: Of the term, at least 0.
        ramp: Share of the phase, 0 to 1, over which the weight (for `"dann"` that of
            the features' part) climbs from 0 by `2 / (1 + exp(-10 p)) - 1`; 0: it is
            whole at once; None: 1 for `"dann"`, else 0.
        share: For `"self_training"`, the share of each predicted class that is learnt
            from, above 0 to 1.

    Example:
        >>> import kerastl
        >>> phase = kerastl.Phase(
        ...     "adapt",
        ...     trainable="all",
        ...     epochs=8,
        ...     learning_rate=5e-4,
        ...     adapt=Adaptation("mcc"),
        ... )

    Reference:
        Jin et al. (2020), Minimum Class Confusion, arXiv:1912.03699, eq. 2 to 7; Sun &
        Saenko (2016), Deep CORAL, arXiv:1607.01719, eq. 1; Ganin et al. (2016),
        Domain-Adversarial Training of Neural Networks, §4.
    """

    method: str = "mcc"
    _: KW_ONLY
    weight: float = 1.0
    ramp: float | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_choice("method", self.method, METHODS)
        check_number("weight", self.weight, 0.0)
        check_number("share", self.share, above=0.0, maximum=1.0)
        if self.ramp is None:
            object.__setattr__(self, "ramp", float(self.method == "dann"))
        check_number("ramp", self.ramp, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class TwoDomains(Source):
    """The source's rows, then the target's, whose labels are -1.

    Attributes:
        source: Labelled rows.
        target: Rows of the same kind; their labels are not looked at.
        guessed: Class of each target row that a model is sure of, else -1.
    """

    source: Source
    target: Source
    guessed: np.ndarray | None = None

    @property
    def is_pixels(self) -> bool:
        """Whether the inputs are images 0-255."""
        return self.source.is_pixels

    @cached_property
    def targets(self) -> np.ndarray:
        """Classes; -1 for the target, or -2 - c where its class is guessed to be c."""
        coded = np.full(len(self.target), UNLABELLED)
        if self.guessed is not None:
            coded = np.where(self.guessed < 0, coded, -2 - self.guessed)
        known = np.reshape(self.source.targets, (-1,))
        return np.concatenate([known, coded.astype(known.dtype)])

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """That of the source."""
        return self.source.spec

    def __len__(self) -> int:
        """Rows of both."""
        return len(self.source) + len(self.target)

    def rows(
        self,
        indices: np.ndarray,
        views: np.ndarray | None = None,
        *,
        threads: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Rows of either, in the order of `indices`."""
        mine = indices < len(self.source)
        pairs = ((self.source, mine, 0), (self.target, ~mine, len(self.source)))
        found: dict[str, np.ndarray] = {}
        for part, chosen, start in pairs:
            if not chosen.any():
                continue
            seen = None if views is None else views[chosen]
            made = part.rows(indices[chosen] - start, seen, threads=threads)
            for name, rows in made.items():
                whole = found.setdefault(
                    name, np.empty((len(indices), *rows.shape[1:]), rows.dtype)
                )
                whole[chosen] = rows
        return found

    def key(self) -> str:
        """Both keys."""
        return f"{self.source.key()} beside {self.target.key()}"

    def check_augment(self, augment: Any) -> Augmentation | None:
        """The augmentation of the source, which the target's images get too."""
        return self.source.check_augment(augment)


def check_adaptation(
    bound: BoundModel,
    phases: Sequence[Any],
    train: Source,
    target: Any,
    *,
    replicas: int,
    batch_size: int,
    monitor: str,
    **others: Any,
) -> Source | None:
    """The target as a source without labels, or None where no phase adapts.

    Raises where target, phases and model do not fit. `others` must be None beside it.
    """
    adapting = [phase for phase in phases if phase.adapt is not None]
    if target is None or not adapting:
        if adapting:
            expected = f"given for phase {adapting[0].name!r}, which adapts"
            fail("target", expected, None)
        if target is not None:
            hint = "Adapt a phase: Phase(..., adapt=kerastl.adaptation.Adaptation())."
            fail("target", "None where no phase adapts", type(target).__name__, hint)
        return None
    if bound.task is None or not bound.task.single_class:
        expected = "None for a model that is no classifier of one class an image"
        fail("target", expected, type(target).__name__)
    if isinstance(train, StreamSource):
        hint = "The rows of both are drawn by number: pass an ImageSet or arrays."
        fail("target", "None beside a dataset of batches", type(target).__name__, hint)
    if replicas > 1:
        fail("strategy", "None beside `target`", f"{replicas} devices")
    if batch_size < 4:
        fail(
            "batch_size", "at least 4 beside `target`, which is half of it", batch_size
        )
    for name, given in others.items():
        if given is not None:
            fail(name, "None beside `target`", given)
    for phase in phases:
        if phase.patience is not None and monitor in ("auto", "last"):
            hint = "Name a `monitor`, or leave `patience` out."
            fail("patience", "None where the last weights are kept", phase.name, hint)
    hidden = len([n for n in bound.head_layers if bound.model.get_layer(n).weights]) > 1
    for phase in adapting:
        method = phase.adapt.method
        if method in _OF_FEATURES and not (phase.opens_backbone or hidden):
            hint = "Open a part of the backbone, or take 'mcc'."
            expected = "one that changes the features"
            fail("trainable", f"{expected} for {method!r}", phase.trainable, hint)
    return unlabelled_source(bound, target, "target")


def both_domains(
    model: keras.Model, phase: Any, train: Source, target: Source, names: Sequence[str]
) -> TwoDomains:
    """Source and target rows of a phase; for self-training with what is guessed now."""
    if phase.adapt.method != "self_training":
        return TwoDomains(train, target)
    outputs = two_columns(source_outputs(model, target))
    guessed = confident(np.asarray(outputs, "float64"), phase.adapt.share)
    missing = [name for i, name in enumerate(names) if i not in guessed]
    if missing:
        warn(
            f"Phase {phase.name!r} finds no target image of {', '.join(missing[:5])}: "
            "it learns nothing new of them."
        )
    return TwoDomains(train, target, guessed)


def two_columns(logits: Any) -> Any:
    """Logits of each class; of a single logit, the second class's, the other is 0."""
    if logits.shape[-1] > 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)


def confident(logits: np.ndarray, share: float) -> np.ndarray:
    """The predicted class of the surest `share` of each predicted class, else -1.

    A threshold for all would take the class that is predicted most, and feed it.

    Args:
        logits: `(n, classes)`.
        share: Above 0 to 1; of each predicted class at least one row.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    predicted = logits.argmax(axis=1)
    found = np.full(len(logits), -1)
    for label in np.unique(predicted):
        mine = np.flatnonzero(predicted == label)
        kept = max(1, int(share * len(mine)))
        found[mine[np.argsort(-sure[mine], kind="stable")[:kept]]] = label
    return found


def adapted(
    bound: BoundModel,
    phase: Any,
    frozen: FrozenPart,
    total: int,
    batch_size: int,
    weights: Mapping[int, float] | None,
    settings: Mapping[str, Any],
) -> tuple[FrozenPart, dict[str, Any]]:
    """What is fitted in a phase that adapts, and the loss and metrics for it.

    The model fitted gives, beside the logits, what the loss needs: how much the term
    counts now, and the features or what is said of their domain. It lives as long as
    the phase, and shares the variables.

    Args:
        bound: The whole model.
        phase: The phase.
        frozen: What would be fitted without.
        total: Rows of the source.
        batch_size: Rows in a batch, of both domains.
        weights: Of the classes, or None.
        settings: What the phase would be compiled with.
    """
    adapt, part = phase.adapt, frozen.part
    steps = phase.epochs * -(-total // (batch_size - batch_size // 2))
    output = part.outputs[0]
    ramp = 0.0 if adapt.method == "dann" else adapt.ramp
    columns = [output, Strength(adapt.weight, ramp * steps)(output)]
    if adapt.method in _OF_FEATURES:
        features = head_features(part, bound)
    if adapt.method == "coral":
        columns.append(features)
    if adapt.method == "dann":
        reversed_by = Strength(1.0, adapt.ramp * steps)(output)
        columns.append(_domain(ReverseGradient()([features, reversed_by])))
    joined = layers.Concatenate(dtype="float32")(columns)
    whole = keras.Model(part.inputs, joined, name=f"{part.name}_adapting")
    if len(part.inputs) == 1:
        whole = keras.Model(part.input, joined, name=f"{part.name}_adapting")
    units = output.shape[-1]
    classes = len(bound.task.class_names)
    counts = None if weights is None else [weights[i] for i in range(classes)]
    base = bound.task.loss(settings["label_smoothing"])
    loss = AdaptedLoss(base, adapt.method, units, counts)
    metrics = [OfLabelled(metric, units) for metric in bound.task.metrics()]
    given = {"loss": loss, "metrics": metrics, "label_smoothing": 0.0}
    return replace(frozen, part=whole), given


def head_features(part: keras.Model, bound: BoundModel) -> keras.KerasTensor:
    """What the head's last layer with weights takes, before dropout.

    Args:
        part: The model, or its end.
        bound: The whole model.
    """
    nodes = graph_nodes(part)
    made = {id(tensor): (node, tensor) for node in nodes for tensor in node.outputs}
    head = set(bound.head_layers)
    inside = [n for n in nodes if n.layer.name in head and n.layer.weights]
    node = inside[-1]
    while True:
        below, tensor = made[node.inputs[0]]
        if not is_noise(below.layer):
            return tensor
        node = below


def _domain(features: keras.KerasTensor) -> keras.KerasTensor:
    """One logit: how much a row looks like one of the source."""
    hidden = layers.Dense(_HIDDEN, activation="relu", dtype="float32")(features)
    return layers.Dense(1, dtype="float32")(hidden)


class Strength(layers.Layer):
    """How much a term counts now, as a column beside each row.

    It counts the steps by itself, as BatchNorm its statistics: a number that is set
    from outside would be a constant of the compiled step.

    Args:
        weight: Where it ends.
        steps: Steps over which it climbs from 0; 0: it is there at once.
    """

    def __init__(self, weight: float, steps: float) -> None:
        """See the class."""
        super().__init__(dtype="float32")
        self.weight, self.steps = float(weight), float(steps)
        self.step = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="step"
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`(n, 1)`, the same number for each row."""
        now = ops.convert_to_tensor(self.weight, "float32")
        if self.steps:
            now = now * climbed(ops.convert_to_tensor(self.step) / self.steps)
            if training:
                self.step.assign(self.step + 1.0)
        return now * ops.ones_like(inputs[:, :1], dtype="float32")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """One column."""
        return input_shape[0], 1


def climbed(progress: Any) -> Any:
    """`2 / (1 + exp(-10 p)) - 1` of a progress of 0 to 1; from there on it stays."""
    return ops.tanh(0.5 * _STEEPNESS * ops.minimum(progress, 1.0))


class ReverseGradient(layers.Layer):
    """Its first input as it is; the gradient that comes back is -strength times it.

    Reference:
        Ganin & Lempitsky (2015), Unsupervised Domain Adaptation by Backpropagation,
        arXiv:1409.7495, eq. 14 and 15.
    """

    def __init__(self) -> None:
        """See the class."""
        super().__init__(dtype="float32")

    def call(self, inputs: Any) -> Any:
        """Features `(n, d)` and strengths `(n, 1)`."""
        features, strength = inputs
        strength = ops.stop_gradient(strength)
        return ops.stop_gradient((1.0 + strength) * features) - strength * features

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """That of the features."""
        return input_shape[0]


class AdaptedLoss(keras.losses.Loss):
    """The mean loss of the labelled rows plus a term of the unlabelled ones.

    Validation data have no unlabelled rows: theirs is the loss of labels alone.

    Args:
        base: The loss of labels.
        method: One of `METHODS`.
        units: Columns of logits, before the strength and what the method compares.
        weights: Of each class, or None.
    """

    def __init__(
        self,
        base: keras.losses.Loss,
        method: str,
        units: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        """See the class."""
        super().__init__(name="adapted")
        self.base, self.method, self.units = base, method, units
        self.weights = weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss per row; its mean is that of the labelled rows plus the term."""
        labels = ops.reshape(y_true, (-1,))
        logits = y_pred[:, : self.units]
        strength = ops.mean(ops.stop_gradient(y_pred[:, self.units]))
        known = ops.cast(labels >= 0, "float32")
        # Of the others any class will do: they count nothing.
        classes = ops.maximum(labels, 0)
        loss = self._of_classes(classes, logits)
        if self.weights is not None:
            table = ops.convert_to_tensor(self.weights, "float32")
            loss = loss * ops.take(table, ops.cast(classes, "int32"))
        share = ops.maximum(ops.mean(known), _TINY)
        term = self._term(labels, logits, y_pred[:, self.units + 1 :])
        return loss * known / share + strength * term

    def _of_classes(self, classes: Any, logits: Any) -> Any:
        """The task's own loss of each row."""
        given = classes[:, None] if self.units == 1 else classes
        return self.base.call(given, logits)

    def _term(self, labels: Any, logits: Any, beside: Any) -> Any:
        """What the method adds, from all rows of the batch."""
        source = ops.cast(labels >= 0, "float32")
        target = 1.0 - source
        if self.method == "mcc":
            return class_confusion(two_columns(logits), target)
        if self.method == "coral":
            return coral_distance(beside, source, target)
        if self.method == "dann":
            return domain_loss(beside[:, 0], source, target)
        # The label -2 - c says that the class is guessed to be c.
        guessed = ops.cast(labels <= UNLABELLED - 1, "float32")
        classes = ops.maximum(-2 - labels, 0)
        return _mean(self._of_classes(classes, logits), guessed)


def _mean(values: Any, mask: Any) -> Any:
    """The mean over the rows of a mask; 0 where it has none."""
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1.0)


def class_confusion(logits: Any, mask: Any) -> Any:
    """How much the classes are confused: 0 to `1 - 1 / K`.

    Args:
        logits: `(n, K)`.
        mask: 1 for the rows that count, `(n,)`, else 0.

    Reference:
        Jin et al. (2020), arXiv:1912.03699, eq. 2 to 7.
    """
    scaled = logits / _TEMPERATURE
    shares = ops.softmax(scaled)
    entropy = -ops.sum(shares * ops.log_softmax(scaled), axis=-1)
    sure = (1.0 + ops.exp(-entropy)) * mask
    sure = ops.stop_gradient(sure / ops.maximum(_mean(sure, mask), _TINY))
    confused = ops.matmul(ops.transpose(shares), sure[:, None] * shares)
    rows = ops.sum(confused, axis=1, keepdims=True)
    confused = confused / ops.maximum(rows, _TINY)
    return (ops.sum(confused) - ops.trace(confused)) / logits.shape[-1]


def coral_distance(features: Any, source: Any, target: Any) -> Any:
    """`||C_s - C_t||² / (4 d²)` of the covariances; 0 unless each has two rows.

    Args:
        features: `(n, d)`.
        source: 1 for the rows of one domain, `(n,)`, else 0.
        target: The same of the other.

    Reference:
        Sun & Saenko (2016), arXiv:1607.01719, eq. 1 to 3.
    """

    def covariance(mask: Any) -> Any:
        count = ops.sum(mask)
        mean = ops.sum(features * mask[:, None], axis=0) / ops.maximum(count, 1.0)
        apart = (features - mean) * mask[:, None]
        return ops.matmul(ops.transpose(apart), apart) / ops.maximum(count - 1.0, 1.0)

    enough = ops.minimum(ops.sum(source), ops.sum(target)) > 1.5
    gap = covariance(source) - covariance(target)
    distance = ops.sum(ops.square(gap)) / (4.0 * features.shape[-1] ** 2)
    return ops.where(enough, distance, ops.zeros_like(distance))


def domain_loss(logits: Any, source: Any, target: Any) -> Any:
    """Cross-entropy of source (1) against target (0), each domain counting half.

    Args:
        logits: `(n,)`.
        source: 1 for the rows of the source, else 0.
        target: The same of the target; without any the loss is 0.
    """
    there = ops.cast(ops.sum(target) > 0.5, "float32")
    halves = _mean(ops.softplus(-logits), source) + _mean(ops.softplus(logits), target)
    return 0.5 * there * halves


class OfLabelled(keras.metrics.Metric):
    """A metric of the logits that passes the unlabelled rows over.

    Args:
        metric: The task's.
        units: Columns of logits.
    """

    def __init__(self, metric: keras.metrics.Metric, units: int) -> None:
        """See the class."""
        super().__init__(name=metric.name)
        self.metric, self.units = metric, units

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the labelled rows of a batch."""
        y_true = ops.convert_to_tensor(y_true)
        known = ops.cast(ops.reshape(y_true, (-1,)) >= 0, "float32")
        if sample_weight is not None:
            known = known * ops.cast(sample_weight, "float32")
        logits = ops.convert_to_tensor(y_pred)[:, : self.units]
        self.metric.update_state(ops.maximum(y_true, 0), logits, known)

    def result(self) -> Any:
        """That of the metric."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Begin anew."""
        self.metric.reset_state()
