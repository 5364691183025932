"""Several processes that train one model, each with its share of the images.

JAX alone has them: `device_strategy("multihost")`. Every process runs the same program;
what one of them leaves out, the others wait for.
"""

import os
import sys
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail

#: Where launchers say how many processes there are: Keras, SLURM, Open MPI.
_ANNOUNCED = (
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "SLURM_NTASKS",
    "OMPI_COMM_WORLD_SIZE",
)


def join_processes() -> None:
    """Meet the other processes that the environment names, unless that was done.

    Raises:
        ValueError: If Keras's backend is not JAX, JAX was used before, the others do
            not answer, or this process is alone.
    """
    backend = keras.backend.backend()
    if backend != "jax":
        hint = "Keras 3 shares training between processes on JAX alone: "
        hint += "KERAS_BACKEND=jax."
        fail(
            "kind", "'auto', 'cpu', 'mirrored' or 'tpu' on this backend", backend, hint
        )
    import jax

    if not jax.distributed.is_initialized():
        try:
            keras.distribution.initialize()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            hint = f"JAX: {reason}. Set KERAS_DISTRIBUTION_JOB_ADDRESSES, "
            hint += "..._NUM_PROCESSES and ..._PROCESS_ID, or start it by SLURM or "
            hint += "Open MPI; before anything else uses JAX."
            fail("kind", "'multihost' in one of several processes", "multihost", hint)
    count = jax.process_count()
    announced = {os.environ[name] for name in _ANNOUNCED if name in os.environ}
    if count < 2 or (announced and str(count) not in announced):
        hint = "It would train alone, on its share. "
        if announced:
            hint = f"{' or '.join(sorted(announced))} were announced. {hint}"
        hint += "Ray's JaxTrainer joins its workers with JaxConfig(use_gpu=True) or on "
        hint += "TPUs; without that each is alone."
        fail("kind", "'multihost' where JAX sees several processes", count, hint)


def place() -> tuple[int, int]:
    """Number of this process, from 0, and how many train together; (0, 1): alone."""
    jax = sys.modules.get("jax")
    if jax is None or keras.backend.backend() != "jax":
        return 0, 1
    # Asking JAX for its processes would start it: too early for who joins later.
    if not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def is_shared(model: keras.Model) -> bool:
    """Whether the model's weights are those of several processes."""
    if place()[1] == 1 or not model.weights:
        return False
    return not model.weights[0].value.is_fully_addressable


def shared_outputs(model: keras.Model, batch: Any) -> Any:
    """The outputs of a batch in inference mode, of which each process computes a share.

    Args:
        model: Whose weights are shared: see `is_shared`.
        batch: Arrays, the same in every process; their length a multiple of the number
            of devices.

    Returns:
        NumPy arrays of all rows, in every process.
    """
    import jax
    from jax.experimental import multihost_utils

    index, count = place()
    mesh = model.weights[0].value.sharding.mesh
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))

    def given(array: Any) -> Any:
        array = np.asarray(array)
        mine = np.split(array, count)[index]
        return jax.make_array_from_process_local_data(rows, mine)

    def forward(trainable: Any, others: Any, inputs: Any) -> Any:
        return model.stateless_call(trainable, others, inputs, training=False)[0]

    variables = model.trainable_variables, model.non_trainable_variables
    # Kept with the model: compiled once for all batches, and anew where other weights
    # train, since JAX knows them by their places in the two lists alone.
    places = tuple(tuple(map(id, each)) for each in variables)
    kept = model.__dict__.setdefault("_kerastl_forward", {})
    forward = kept.setdefault(places, jax.jit(forward))
    weights = [[variable.value for variable in each] for each in variables]
    made = forward(*weights, keras.tree.map_structure(given, batch))
    return keras.tree.map_structure(
        lambda x: np.asarray(multihost_utils.process_allgather(x, tiled=True)), made
    )


def gathered(text: str) -> list[str]:
    """A text of each process, in the order of their numbers, in all of them."""
    count = place()[1]
    if count == 1:
        return [text]
    from jax.experimental import multihost_utils

    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([mine.size], np.int32))
    lengths = np.asarray(lengths).ravel().tolist()
    # JAX gathers arrays of one shape.
    row = np.zeros(max(*lengths, 1), np.uint8)
    row[: mine.size] = mine
    rows = np.asarray(multihost_utils.process_allgather(row)).reshape(count, -1)
    pairs = zip(rows, lengths, strict=True)
    return [row[:length].tobytes().decode() for row, length in pairs]


def agreed_seed(seed: int | None) -> int:
    """A seed, checked; where nobody said one, one that the first process draws.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is out of range.
    """
    if seed is not None:
        check_integer("seed", seed, 0)
        return seed
    number = np.random.SeedSequence().generate_state(1)[0]
    return int(gathered(str(number))[0])
