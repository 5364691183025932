"""BatchNorm statistics of another domain, for good or for one stream of images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl._checks import check_choice, check_integer, check_number, fail, warn
from kerastl._compat import sublayers
from kerastl._progress import Progress
from kerastl.data.batches import only_or_all
from kerastl.features.network import as_fed
from kerastl.features.sources import unlabelled_source
from kerastl.models.blocks import check_functional
from kerastl.models.layers import is_noise, make_freezable
from kerastl.models.record import find_record, forget_settings
from kerastl.tasks.compiling import jit_mode
from kerastl.tasks.task import bind, bind_known
from kerastl.training.batch_statistics import recompute_batchnorm

METHODS = ("bn", "tent")
#: Images below which the statistics of a domain are mostly chance.
_FEW = 100


def adapt_statistics(
    model: keras.Model,
    target: Any,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> None:
    """Give BatchNorm the means and variances of another domain's images (AdaBN).

    It undoes what a sensor or the light does to each channel, needs no training and no
    label, and moves nothing else. It is for a model whose statistics are those of the
    source. In a frozen backbone they are of other images: there take features of each
    domain under its own, or it may cost more than it gains. It also hurts where the
    target shows other shares of the classes, since these shift the means too. Frozen
    layers are adapted as well. A temperature of `calibrate` goes, with a warning.

    Give it images of the target alone: of a mixture of both domains come the statistics
    of neither.

    Args:
        model: Functional model with BatchNorm, changed in place.
        target: Images, a hundred at least; labels that come with them are not looked
            at.
        layers: Names of BatchNorm layers; None: all of them.
        batch_size: Images at a time, at least 2: the layers below one normalise by
            batch meanwhile, so large ones come nearer to what inference does.
        progress: Called with (done, total) images.

    Raises:
        ValueError: If the network has no BatchNorm, or there is only one image.
        TypeError: If the model is not functional.

    Example:
        >>> x = keras.Input((1,))
        >>> model = keras.Model(x, keras.layers.BatchNormalization(name="norm")(x))
        >>> model.trainable = False
        >>> adapt_statistics(model, np.arange(200.0).reshape(200, 1))
        >>> float(model.get_layer("norm").moving_mean[0])
        99.5

    Reference:
        Li et al. (2017), Revisiting Batch Normalization For Practical Domain
        Adaptation, arXiv:1603.04779, §3.3.
    """
    check_functional("model", model)
    if layers is None:
        layers = [layer.name for layer in batch_norms(model)]
    source = unlabelled_source(bind(model), target, "target")
    if len(source) < 2:
        fail("target", "at least two images, to have a variance", len(source))
    if len(source) < _FEW:
        warn(
            f"Statistics of {len(source)} images are partly chance: take "
            f"{_FEW} or more."
        )
    rows = source.images if hasattr(source, "images") else source.inputs
    options = {"layers": layers, "batch_size": batch_size, "progress": progress}
    recompute_batchnorm(model, rows, **options)
    if find_record(model) is not None:
        forget_settings(model)


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNorm layers of a model; raises where there is none."""
    kind = keras.layers.BatchNormalization
    found = [layer for layer in sublayers(model) if isinstance(layer, kind)]
    if not found:
        hint = "Networks with LayerNorm have no statistics to adapt: train on the "
        hint += "target with Phase(adapt=...)."
        fail("model", "a network with BatchNormalization", model.name, hint)
    return found


class _BlendedStatistics:
    """BatchNorm that normalises by the batch's statistics, mixed with the stored."""

    source_share = 1.0

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise; the stored statistics stay as they are."""
        axis = self.axis % len(inputs.shape)
        others = [each for each in range(len(inputs.shape)) if each != axis]
        rows = ops.cast(inputs, "float32")
        mean, variance = ops.moments(rows, axes=others)
        share = self.source_share
        mean = share * ops.cast(self.moving_mean, "float32") + (1 - share) * mean
        stored = ops.cast(self.moving_variance, "float32")
        variance = share * stored + (1 - share) * variance
        offset = None if self.beta is None else ops.cast(self.beta, "float32")
        scale = None if self.gamma is None else ops.cast(self.gamma, "float32")
        made = ops.batch_normalization(
            rows, mean, variance, axis, offset, scale, self.epsilon
        )
        return ops.cast(made, inputs.dtype)


@contextmanager
def _blended(model: keras.Model, share: float) -> Iterator[None]:
    """BatchNorm mixes the statistics of the batch in, for as long as this lasts."""
    changed = [(layer, type(layer)) for layer in batch_norms(model)]
    try:
        for layer, kind in changed:
            members = {"source_share": share}
            layer.__class__ = type(kind.__name__, (_BlendedStatistics, kind), members)
        yield
    finally:
        for layer, kind in changed:
            layer.__class__ = kind


class Entropy(keras.losses.Loss):
    """Mean entropy of the answers; the targets are not looked at."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Entropy of each row."""
        logits = y_pred
        if logits.shape[-1] == 1:
            logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
        return -ops.sum(ops.softmax(logits) * ops.log_softmax(logits), axis=-1)


class TestTimeAdapter:
    """Adapts a classifier to each batch of images while it answers.

    For a stream whose weather changes and which nobody can stop to adapt to. Its
    dangers: an image's answer depends on its company, so a stream sorted by class
    collapses; a batch of one has no statistics and is refused; and `"tent"` goes on
    changing the model, so that it may drift for ever: look at `changed`, and `reset()`.
    With images of the target at hand, `adapt_statistics` is the safer way.

    Attributes:
        seen: Batches since the last reset.

    Args:
        model: Classifier of one class an image, with BatchNorm. It is changed by
            `"tent"` only: gamma and beta.
        method: `"bn"`: each batch is normalised by a mixture of its own statistics and
            the stored ones. `"tent"`: by its own, and gamma and beta take a step after
            each batch towards surer answers.
        source_images: For `"bn"`, how many images the stored statistics count for;
            0: only the batch counts; infinity: only they do.
        learning_rate: For `"tent"`, above 0.
        batch_size: Images at a time, at least 2; batches are made equal to one image.

    Raises:
        ValueError: If the model has no BatchNorm or is no such classifier.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> adapter = TestTimeAdapter(model)
        >>> adapter.predict(np.zeros((4, 96, 96, 3), "uint8")).labels
        ('dark', 'dark', 'dark', 'dark')

    Reference:
        Schneider et al. (2020), Improving robustness against common corruptions by
        covariate shift adaptation, arXiv:2006.16971, eq. 2 (`bn`); Wang et al. (2021),
        Tent: Fully Test-Time Adaptation by Entropy Minimization, arXiv:2006.10726,
        §3.2 (`tent`).
    """

    # Tests are told by their name.
    __test__ = False

    def __init__(
        self,
        model: keras.Model,
        method: str = "bn",
        *,
        source_images: float = 16.0,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
    ) -> None:
        """See the class."""
        check_choice("method", method, METHODS)
        check_integer("batch_size", batch_size, 2)
        check_number("learning_rate", learning_rate, above=0.0)
        if source_images != float("inf"):
            check_number("source_images", source_images, 0.0)
        self._bound = bind_known(model)
        if not self._bound.task.single_class:
            received = self._bound.task.name
            fail("model", "a classifier of one class an image", received)
        self.model, self.method, self.batch_size = model, method, batch_size
        self.source_images, self.learning_rate = source_images, learning_rate
        self._weights = [
            weight
            for layer in batch_norms(model)
            for weight in (layer.gamma, layer.beta)
            if weight is not None
        ]
        self._start = self._values()
        self._optimizer_model: keras.Model | None = None
        self.seen = 0

    @property
    def changed(self) -> float:
        """How far gamma and beta are from where they began: the largest difference."""
        pairs = zip(self._start, self._values(), strict=True)
        return max(float(np.abs(new - old).max()) for old, new in pairs)

    def predict(self, images: Any) -> Any:
        """What the model says of images, batch by batch, in order.

        Args:
            images: Two at least; labels that come with them are not looked at.

        Returns:
            `kerastl.tasks.Predictions`. Of `"tent"` each batch is answered before the
            step that it leads to.

        Raises:
            ValueError: If there is only one image.
        """
        source = unlabelled_source(self._bound, images, "images")
        if len(source) < 2:
            hint = "Gather some images: one has no statistics of its own."
            fail("images", "a batch of at least two", len(source), hint)
        parts = np.array_split(
            np.arange(len(source)), max(len(source) // self.batch_size, 1)
        )
        found = []
        for part in parts:
            batch = as_fed(self.model, only_or_all(source.rows(part)))
            with _blended(self.model, self._share(len(part))):
                made = self.model(batch, training=False)
                found.append(ops.convert_to_numpy(made))
                if self.method == "tent":
                    self._step(batch)
            self.seen += 1
        decoded = self._bound.task.decode(np.concatenate(found))
        return self._bound.task.predictions(decoded, None)

    def reset(self) -> None:
        """Put gamma and beta back to where they began, to the bit."""
        for weight, value in zip(self._weights, self._start, strict=True):
            weight.assign(value)
        self._optimizer_model, self.seen = None, 0

    def _share(self, images: int) -> float:
        """How much the stored statistics count beside those of so many images."""
        if self.method == "tent":
            return 0.0
        if self.source_images == float("inf"):
            return 1.0
        return self.source_images / (self.source_images + images)

    def _values(self) -> list[np.ndarray]:
        return [np.array(ops.convert_to_numpy(weight)) for weight in self._weights]

    def _step(self, batch: Any) -> None:
        """One step of gamma and beta towards surer answers to a batch."""
        with _only(self.model, self._weights):
            if self._optimizer_model is None:
                # A model of its own, so that the user's stays compiled as it is.
                made = keras.Model(self.model.input, self.model.output)
                rule = keras.optimizers.Adam(self.learning_rate)
                made.compile(optimizer=rule, loss=Entropy(), jit_compile=jit_mode())
                self._optimizer_model = made
            rows = len(keras.tree.flatten(batch)[0])
            self._optimizer_model.train_on_batch(batch, np.zeros((rows, 1), "float32"))


@contextmanager
def _only(model: keras.Model, weights: Sequence[keras.Variable]) -> Iterator[None]:
    """Nothing but these weights trains, and dropout is off, for as long as it lasts."""
    noisy = [layer for layer in sublayers(model) if is_noise(layer)]
    before = [(layer, type(layer), layer.trainable) for layer in noisy]
    flags = [(variable, variable.trainable) for variable in model.variables]
    wanted = {id(weight) for weight in weights}
    try:
        for layer in noisy:
            make_freezable(layer)
            layer.trainable = False
        for variable, _ in flags:
            variable.trainable = id(variable) in wanted
        yield
    finally:
        for layer, kind, flag in before:
            layer.__class__ = kind
            layer.trainable = flag
        for variable, flag in flags:
            variable.trainable = flag
