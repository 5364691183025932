"""Fine-tune one model in several processes, one for each machine, on JAX.

On one machine, to try it (two terminals, or `&`):

    export KERAS_BACKEND=jax KERAS_DISTRIBUTION_NUM_PROCESSES=2
    export KERAS_DISTRIBUTION_JOB_ADDRESSES=127.0.0.1:12345
    KERAS_DISTRIBUTION_PROCESS_ID=0 python examples/several_processes.py &
    KERAS_DISTRIBUTION_PROCESS_ID=1 python examples/several_processes.py

On a cluster the address is that of the machine of process 0. Under SLURM or Open MPI
nothing need be said: `srun --ntasks=2 python examples/several_processes.py`.
"""

import sys
from pathlib import Path

import keras

import kerastl

DATA = Path(__file__).parents[1] / "data" / "shapes"


def main(tiny: bool = False) -> None:
    """Train; the first process writes the model."""
    # First of all: the processes must meet before JAX is used.
    strategy = kerastl.device_strategy("multihost")
    keras.utils.set_random_seed(0)
    train, validation, _ = kerastl.load_images(DATA, validation=0.2, seed=0)
    if tiny:
        train, validation = (x.subset(range(0, len(x), 8)) for x in (train, validation))
    with strategy.scope():
        model = build(train.class_names, tiny)
    history = kerastl.fine_tune(
        model,
        train,
        validation,
        recipe="lp_ft",
        epochs=(1, 1) if tiny else (2, 1),
        batch_size=32,
        seed=0,
        strategy=strategy,
    )
    # Every process takes part in what the network computes; one writes.
    report = kerastl.evaluate(model, validation)
    if is_first():
        for phase in history.phases:
            print(f"{phase.name}: {len(phase.moved)} weights moved")
        print(f"accuracy {report.accuracy:.3f}")
        kerastl.save_model(model, "several_processes.keras")


def build(names: tuple[str, ...], tiny: bool) -> keras.Model:
    """The same classifier in every process."""
    if tiny:
        from tiny import network

        return kerastl.build_classifier(network(), names, preprocessing="tf")
    backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
    return kerastl.build_classifier(backbone, names)


def is_first() -> bool:
    """Whether this is process 0."""
    import jax

    return jax.process_index() == 0


if __name__ == "__main__":
    main("--tiny" in sys.argv)
