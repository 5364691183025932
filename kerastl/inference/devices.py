"""What to run on: CPU, GPUs, TPU."""

from dataclasses import dataclass
from typing import Any

import keras

from kerastl._checks import check_choice, check_integer, fail

STRATEGIES = ("auto", "cpu", "mirrored", "tpu")


def device_strategy(kind: Any = "auto", *, devices: int | None = None) -> Any:
    """A distribution strategy in whose scope a model is built and trained.

    Build the model inside `strategy.scope()`, and give the strategy to `run_phases`
    or `transfer`, which compile in its scope and keep every replica busy. The batch
    size is for all replicas together.

    Args:
        kind: `"auto"`: TPU if there is one, all GPUs if there are several, else the
            one device; `"cpu"`; `"mirrored"`: a copy on each device; `"tpu"`; or a
            `tf.distribute` strategy, which is returned as it is.
        devices: For `"mirrored"`, how many devices at most; None: all.

    Returns:
        On TensorFlow a `tf.distribute.Strategy`. On JAX a `Scope` with the same
        method, which sets `keras.distribution.DataParallel` while it is entered.

    Raises:
        ValueError: If the kind is unknown, or there is no such device.

    Example:
        >>> import kerastl
        >>> strategy = kerastl.device_strategy("cpu")
        >>> with strategy.scope():
        ...     model = kerastl.build_backbone("MobileNet", alpha=0.25, weights=None)
    """
    if hasattr(kind, "scope"):
        return kind
    check_choice("kind", kind, STRATEGIES)
    if devices is not None:
        check_integer("devices", devices, 1)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_strategy(kind, devices)
    return _jax_scope(kind, devices)


def _tensorflow_strategy(kind: str, devices: int | None) -> Any:
    import tensorflow as tf

    if kind == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if kind == "tpu" or (kind == "auto" and tf.config.list_physical_devices("TPU")):
        return _tpu_strategy()
    found = [device.name for device in tf.config.list_logical_devices("GPU")]
    if kind == "auto" and len(found) < 2:
        return tf.distribute.get_strategy()
    names = found or [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(names[:devices])


def _tpu_strategy() -> Any:
    """Connect to a TPU. Written after TensorFlow's guide; not run on a TPU by us."""
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        fail("kind", "'tpu' where a TPU is attached", "tpu", f"TensorFlow: {reason}")
    return tf.distribute.TPUStrategy(resolver)


@dataclass(frozen=True)
class Scope:
    """A `keras.distribution` with the one method of a TensorFlow strategy.

    Attributes:
        distribution: The distribution set while the scope is entered; None: one
            device, nothing is set.
        num_replicas_in_sync: Number of devices that share a batch.
    """

    distribution: Any
    num_replicas_in_sync: int = 1

    def scope(self) -> Any:
        """A context manager that sets the distribution."""
        from contextlib import nullcontext

        return nullcontext() if self.distribution is None else self.distribution.scope()


def _jax_scope(kind: str, devices: int | None) -> Scope:
    found = keras.distribution.list_devices()
    if kind == "tpu":
        found = [name for name in found if name.startswith("tpu")]
        if not found:
            seen = ", ".join(keras.distribution.list_devices())
            fail("kind", "'tpu' where a TPU is attached", kind, f"JAX sees {seen}.")
    if kind == "cpu":
        return Scope(None)
    names = found[:devices]
    if len(names) < 2 and kind == "auto":
        return Scope(None)
    return Scope(keras.distribution.DataParallel(devices=names), len(names))


def replicas(strategy: Any) -> int:
    """Number of devices that share a batch; 1 without a strategy."""
    return getattr(strategy, "num_replicas_in_sync", 1)
