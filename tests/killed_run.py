"""A run that kills itself at planted points, and is begun again each time.

`python killed_run.py FOLDER`, with this folder and the one above in PYTHONPATH, writes
what an unbroken run and the killed one ended with.
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
from networks import coloured, small_classifier

import kerastl
from kerastl import _files
from kerastl.features import cache
from kerastl.training import resume

DATA = coloured(8)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DieAt(keras.callbacks.Callback):
    """Dies in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.here = epoch == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.here and batch == 1:
            die()


def computing_features():
    blocks = cache.output_blocks

    def some(*args, **options):
        for number, block in enumerate(blocks(*args, **options)):
            if number == 2:
                die()
            yield block

    cache.output_blocks = some


def before(owner, name):
    """Die where a function is called."""

    def planted():
        setattr(owner, name, lambda *args, **options: die())

    return planted


def half_written():
    save = np.savez

    def torn(path, *rows, **named):
        save(path, *rows, **named)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        die()

    resume.np.savez = torn


def at(epoch):
    return lambda: epoch


#: In this order, one after the other.
POINTS = [
    computing_features,
    at(0),
    at(2),
    half_written,
    before(resume.States, "end_phase"),
    at(4),
    before(_files.Path, "replace"),
    before(resume.States, "end_run"),
]


def phases():
    # A phase without augmentation: its features are computed once.
    head = kerastl.Phase(
        "head", trainable="head", epochs=3, learning_rate=0.05, augment=False
    )
    whole = kerastl.Phase(
        "all", trainable="all", epochs=3, learning_rate=0.01, schedule="cosine"
    )
    return [head, whole]


def train(folder, dies_at=None):
    resume.SPARING = 0
    keras.utils.set_random_seed(0)
    model = small_classifier(dropout=0.3)
    history = kerastl.run_phases(
        model,
        DATA,
        DATA,
        phases=phases(),
        augment="light",
        batch_size=5,
        cache="memory",
        callbacks=[DieAt(dies_at)],
        resume_dir=folder,
        seed=3,
        verbose=0,
    )
    return model, history


def result(path, folder):
    model, history = train(folder)
    columns = {n: c for n, c in history.history.items() if n != "seconds"}
    records = [
        {n: v for n, v in vars(record).items() if n != "seconds"}
        for record in history.phases
    ]
    said = {"history": columns, "records": records, "best": vars(history.best)}
    path.with_suffix(".json").write_text(json.dumps(said))
    np.savez(path, *model.get_weights())


def in_a_fork(function):
    """How a function ended in a process of its own: 0, or less a signal's number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(place):
    ends = [in_a_fork(lambda: result(place / "unbroken.npz", None))]
    for plant in POINTS:
        ends.append(in_a_fork(lambda plant=plant: train(place / "run", plant())))
    ends.append(in_a_fork(lambda: result(place / "killed.npz", place / "run")))
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
