"""What several devices need: batches that each of them has a share of."""

from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._processes import is_shared, place
from kerastl.data.sources import ArraySource, ImageSource, Source
from kerastl.features.network import source_outputs
from kerastl.models.weights import weights_digest
from kerastl.tasks.compiling import added_losses, objective
from kerastl.tasks.task import BoundModel


class PaddedValidation(keras.callbacks.Callback):
    """Scores the validation data after each epoch, in full batches only.

    Keras crashes where the last batch is smaller than the number of replicas. The
    batch is filled up and the surplus cut, so each image counts once.
    """

    def __init__(
        self,
        bound: BoundModel,
        source: Source,
        batch_size: int,
        settings: dict[str, Any],
    ) -> None:
        """See the class."""
        super().__init__()
        if not isinstance(source, ImageSource | ArraySource):
            hint = "Its batches cannot be padded; pass an ImageSet or arrays."
            kind = type(source.data).__name__
            fail("validation", "images under a distribution strategy", kind, hint)
        self.bound = bound
        self.source = source
        self.batch_size = batch_size
        self.settings = settings

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the results to the logs that later callbacks see."""
        logs.update(self.results(self.model))

    def results(self, model: keras.Model) -> dict[str, float]:
        """Validation loss and metrics, named as Keras names them."""
        outputs = source_outputs(model, self.source, self.batch_size)
        loss, metrics = objective(self.bound, **self.settings)
        labels = self.source.targets
        value = float(np.mean(_each(keras.losses.get(loss), labels, outputs)))
        found = {"val_loss": value + added_losses(model)}
        for metric in metrics:
            metric = keras.metrics.get(metric)
            metric.reset_state()
            metric.update_state(labels, outputs)
            found[f"val_{metric.name}"] = float(metric.result())
        return found


def _each(loss: Any, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The loss of each image: in a scope, Keras divides means by the replicas."""
    if isinstance(loss, keras.losses.Loss):
        loss = type(loss).from_config({**loss.get_config(), "reduction": "none"})
    return keras.ops.convert_to_numpy(loss(labels, outputs))


def replica_batch_size(batch_size: int, replicas: int, images: int) -> int:
    """The global batch size that gives each replica the same number of images."""
    if batch_size % replicas:
        hint = f"{batch_size // replicas * replicas or replicas} is one."
        fail("batch_size", f"a multiple of the {replicas} devices", batch_size, hint)
    if images < replicas:
        fail("train", f"at least {replicas} images for {replicas} devices", images)
    return min(batch_size, images // replicas * replicas)


def check_strategy(
    strategy: Any,
    model: keras.Model,
    train: Source,
    minutes: float | None,
    resume_dir: Any,
) -> None:
    """Raise unless the model was built under the strategy, or by all processes.

    Raises:
        ValueError: If it was not, or several processes train and something is asked
            for that each would decide by itself.
        RuntimeError: If their weights differ.
    """
    under = getattr(model, "distribute_strategy", strategy)
    known = strategy is not None and keras.backend.backend() == "tensorflow"
    if known and under is not strategy:
        hint = "Build or load it in `with strategy.scope():`, of the same strategy."
        fail("model", "built in the scope of `strategy`", model.name, hint)
    if place()[1] == 1:
        return
    if not is_shared(model):
        hint = "Build it in `with strategy.scope():`, and pass the strategy."
        fail("model", "built in the scope of the processes", model.name, hint)
    for name, value in (("minutes", minutes), ("resume_dir", resume_dir)):
        if value is not None:
            fail(name, "None where several processes train", value)
    if not isinstance(train, ImageSource | ArraySource):
        hint = "Each process takes its share of what can be counted: pass an ImageSet "
        hint += "or arrays."
        fail("train", "examples that have places", type(train).__name__, hint)
    check_in_step(model, "before the first phase")


def check_in_step(model: keras.Model, when: str) -> None:
    """Raise unless every process has the same weights.

    Args:
        model: The same model in every process.
        when: What the error says: `"after phase 'head'"`.

    Raises:
        RuntimeError: If they differ.
    """
    count = place()[1]
    if count == 1:
        return
    from jax.experimental import multihost_utils

    mine = np.frombuffer(bytes.fromhex(weights_digest(model.variables)), np.uint8)
    theirs = np.asarray(multihost_utils.process_allgather(mine)).reshape(count, -1)
    differ = [str(i) for i in range(count) if (theirs[i] != theirs[0]).any()]
    if differ:
        raise RuntimeError(
            f"The weights of process {', '.join(differ)} differ from those of process "
            f"0 {when}. Give all the same seed, data and program: "
            "keras.utils.set_random_seed before the model is built."
        )
