"""What several devices need: batches that each of them has a share of."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._files import one_line
from kerastl._processes import gathered, is_shared, place
from kerastl.data.sources import (
    ArraySource,
    ImageSource,
    Source,
    TextSource,
    files_key,
)
from kerastl.features.keys import cache_key
from kerastl.features.network import replica_count, source_outputs
from kerastl.models.weights import weights_digest
from kerastl.tasks.compiling import added_losses, objective
from kerastl.tasks.task import BoundModel
from kerastl.training.resume import settings_identity, targets_key
from kerastl.training.watching import WAITING


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
    *,
    train: Source,
    validation: Source | None,
    minutes: float | None,
    resume_dir: Any,
    target: Any,
    teacher: Any,
    identity: dict[str, Any],
) -> None:
    """Raise unless the model was built under the strategy, and by all processes alike.

    Args:
        strategy: That of `run_phases`, like all but the last that follow.
        model: The same.
        train: The same, as a source.
        validation: The same.
        minutes: The same.
        resume_dir: The same.
        target: The same.
        teacher: The same.
        identity: Arguments of `settings_identity`.

    Raises:
        ValueError: If it was not, or several processes train and something is asked
            for that each would decide by itself, or their data or settings differ.
        RuntimeError: If their weights differ.
    """
    if strategy is None and _is_on_several_devices(model):
        hint = "Pass the one in whose scope the model was built: without it each of "
        hint += "them would compute every batch whole."
        fail("strategy", "given for a model of several devices", None, hint)
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
    # One process may write logs and files; what ends training early ends it in all.
    waiting = [each for each in identity["callbacks"] if isinstance(each, WAITING)]
    kinds = {"`target`": type(target).__name__, "`teacher`": type(teacher).__name__}
    _check_alike(
        _key_of("training", train)
        | _key_of("validation", validation)
        | settings_identity(**identity | {"callbacks": waiting})
        | {f"kind of {name}": kind for name, kind in kinds.items()}
    )
    check_in_step(model, "before the first phase")


def _is_on_several_devices(model: keras.Model) -> bool:
    """Whether the model was built in the scope of a strategy of several devices."""
    value = model.weights[0].value if model.weights else None
    sharding = getattr(value, "sharding", None)
    # On JAX each of them has a copy of the weights.
    return replica_count(model) > 1 or len(getattr(sharding, "device_set", ())) > 1


def _key_of(part: str, source: Source | None) -> dict[str, Any]:
    """What stands for the examples of a part, by name: files are not read for it."""
    kinds = {ImageSource: "images", TextSource: "texts"}
    whole = f"{part} {kinds.get(type(source), 'examples')}"
    if source is None:
        return {f"number of {part} images": 0}
    paths = source.images.paths if isinstance(source, ImageSource) else None
    what = "contents" if paths is None else "names or sizes"
    key = source.key() if paths is None else files_key(paths)
    return {
        f"number of {whole}": len(source),
        f"{what} of the {whole}, or their order": cache_key(key),
        f"labels of the {whole}": cache_key(targets_key(source)),
    }


#: A longer value is not shown in a message.
_SHOWN = 40


def _check_alike(mine: dict[str, Any]) -> None:
    """Raise, in every process, the first thing in which they differ.

    Args:
        mine: What must be equal, by name, as JSON has it.
    """
    every = [json.loads(text) for text in gathered(json.dumps(mine))]
    for name in dict.fromkeys(name for each in every for name in each):
        found: dict[str, list[str]] = {}
        for number, each in enumerate(every):
            value = each.get(name)
            text = "none" if value is None else str(value)
            found.setdefault(text, []).append(str(number))
        if len(found) == 1:
            continue
        shown = [f"{text} in process {', '.join(who)}" for text, who in found.items()]
        if max(map(len, found)) > _SHOWN:
            others = [number for who in list(found.values())[1:] for number in who]
            shown = [f"process {', '.join(others)} has others than process 0"]
        raise ValueError(
            "Processes that train one model must be given the same data and settings. "
            f"They differ in the {name}: {', '.join(shown)}."
        )


@contextmanager
def known_to_all(model: keras.Model) -> Iterator[None]:
    """A step that each process takes alone: if it fails in one, it fails in all.

    The others would wait for it without end.

    Args:
        model: What trains; where it is one process's own, nobody else is asked.

    Raises:
        RuntimeError: If it failed in another process; it says why.
    """
    if not is_shared(model):
        yield
        return
    failed = None
    try:
        yield
    except Exception as error:
        failed = error
    said = gathered("" if failed is None else one_line(failed))
    if failed is not None:
        raise failed
    for number, line in enumerate(said):
        if line:
            raise RuntimeError(f"Process {number} has failed: {line}.")


def check_in_step(model: keras.Model, when: str) -> None:
    """Raise unless every process has the same weights.

    Args:
        model: The same model in every process.
        when: What the error says: `"after phase 'head'"`.

    Raises:
        RuntimeError: If they differ.
    """
    if place()[1] == 1:
        return
    digests = gathered(weights_digest(model.variables))
    differ = [str(i) for i, each in enumerate(digests) if each != digests[0]]
    if differ:
        raise RuntimeError(
            f"The weights of process {', '.join(differ)} differ from those of process "
            f"0 {when}. Give all the same seed, data and program: "
            "keras.utils.set_random_seed before the model is built."
        )
