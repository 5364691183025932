"""Several processes train one model: each its share of a batch, all the same weights.

Processes join before JAX starts, so the test runs in processes of its own.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import pixels

import kerastl
from kerastl.data.mixing import Mixing
from kerastl.data.sets import ImageSet
from kerastl.data.sources import ImageSource, PixelStore

SCRIPT = """
import json, os, sys
from contextlib import nullcontext
import keras, numpy as np, kerastl
from kerastl import Phase
from PIL import Image

together = "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ
rank = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
strategy = kerastl.device_strategy("multihost") if together else None
rng = np.random.default_rng(0)
images = rng.integers(0, 255, (17, 8, 8, 3)).astype("uint8")
labels = np.arange(17) % 3

def network():
    start = keras.initializers.GlorotUniform(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=start, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, keras.layers.ReLU(name="relu")(x), name="net")

def classifier():
    with strategy.scope() if strategy else nullcontext():
        model = kerastl.build_classifier(
            network(), 3, preprocessing="tf", dropout=0.2)
        # A head of zeros would pass no gradient to the layers below.
        kernel = np.linspace(-1, 1, 12).reshape(4, 3)
        model.get_layer("head_dense").kernel.assign(kernel)
    return model

def train(model, data=(images[:16], labels[:16]), epochs=2, **options):
    phases = [
        Phase("head", trainable="head", epochs=1, learning_rate=0.1, optimizer="sgd"),
        Phase("all", trainable="all", epochs=epochs, learning_rate=0.1,
              optimizer="sgd")]
    options = {"seed": 0, "verbose": 0, "strategy": strategy, **options}
    options = {"batch_size": 8, "augment": "light", **options}
    return kerastl.run_phases(model, data, (images, labels), phases=phases, **options)

def refused(**options):
    try:
        train(options.pop("model", model), **options)
    except (ValueError, RuntimeError) as error:
        return " ".join([str(error), *getattr(error, "__notes__", [])])

def files(where, broken=None):
    # In another folder in each process, as on machines of their own.
    folder = os.path.join(f"disk-{rank}", where)
    os.makedirs(folder)
    paths = [os.path.join(folder, f"{number}.bmp") for number in range(16)]
    for path, pixels in zip(paths, images):
        Image.fromarray(pixels).save(path)
    if broken is not None and rank:
        with open(paths[broken], "r+b") as file:
            file.write(bytes(8))
    return kerastl.ImageSet(paths, labels[:16], ("0", "1", "2"))

def two_alike():
    # Two layers of equal shapes: what trains one after the other may be confused.
    start = keras.initializers.GlorotUniform
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=start(0), name="conv")(inputs)
    for number, name in enumerate(("one", "two"), 1):
        x = keras.layers.Conv2D(
            4, 1, activation="relu", kernel_initializer=start(number), name=name)(x)
    with strategy.scope() if strategy else nullcontext():
        model = kerastl.build_classifier(
            keras.Model(inputs, x, name="alike"), 3, preprocessing="tf", dropout=0.0)
        kernel = np.linspace(-1, 1, 12).reshape(4, 3)
        model.get_layer("head_dense").kernel.assign(kernel)
    phases = [
        Phase(name, trainable=(name,), epochs=1, learning_rate=0.1, optimizer="sgd")
        for name in ("one", "two")]
    return kerastl.run_phases(
        model, (images[:16], labels[:16]), (images, labels), phases=phases,
        batch_size=8, seed=0, verbose=0, strategy=strategy).history["val_loss"]

model = classifier()
history = train(model)
report = kerastl.evaluate(
    model, kerastl.ImageSet(images, labels, ("0", "1", "2")), batch_size=8)
found = {
    "weights": [w.tolist() for w in model.get_weights()],
    "moved": [sorted(phase.moved) for phase in history.phases],
    "history": history.history, "accuracy": report.accuracy, "alike": two_alike()}
if together:
    found["drawn"] = [
        w.tolist() for w in (lambda m: (train(m, seed=None), m)[1])(classifier())
        .get_weights()]
    found["minutes"] = refused(minutes=5)
    found["resume_dir"] = refused(resume_dir="states")
    found["strategy"] = refused(strategy=None)
    few, other = slice(16 - rank), labels[:16] * (1 - rank)
    found["number"] = refused(data=(images[few], labels[few]))
    found["pixels"] = refused(data=(images[:16] + np.uint8(rank), labels[:16]))
    found["labels"] = refused(data=(images[:16], other))
    found["seed"] = refused(seed=rank)
    found["no seed"] = refused(seed=rank or None)
    found["batch_size"] = refused(batch_size=8 + 8 * rank)
    found["epochs"] = refused(epochs=1 + rank)
    stop = keras.callbacks.EarlyStopping(patience=5)
    found["callbacks"] = refused(callbacks=[stop] * rank)
    found["elsewhere"] = refused(data=files("whole"), callbacks=[
        keras.callbacks.CSVLogger("log.csv")][rank:])
    found["first"] = refused(data=files("first", 0))
    found["broken"] = refused(data=files("broken", 15))
    found["names"] = refused(data=files(f"photos/{rank}").subset(
        np.roll(np.arange(16), 3 * rank)))
    alone = kerastl.build_classifier(network(), 3, preprocessing="tf")
    found["alone"] = refused(model=alone)
    # JAX compares what is assigned, so a difference must be made up.
    read = keras.ops.convert_to_numpy
    keras.ops.convert_to_numpy = lambda values: read(values) + (
        rank if isinstance(values, keras.Variable) else 0)
    found["differ"] = refused()
    keras.ops.convert_to_numpy = read
    try:
        kerastl.transfer((images, labels))
    except ValueError as error:
        found["transfer"] = str(error)
    if rank:
        # Last: the other process waits for what does not come.
        class Failing(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                raise ValueError("only here")
        found["failing"] = refused(callbacks=[Failing()])
    else:
        print(json.dumps(found), flush=True)
        refused()
print(json.dumps(found), flush=True)
os._exit(0)
"""

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX alone has several processes"
)


EXAMPLE = Path(__file__).parents[2] / "examples" / "several_processes.py"


def start(folder, *program, **environment):
    """A process of a program, else of the script, on one CPU device."""
    known = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KERAS_DISTRIBUTION", "SLURM", "OMPI", "XLA_FLAGS"))
    }
    known |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, *(program or ("-c", SCRIPT))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=known | environment,
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_two(folder, *program):
    """Two processes that train together."""
    shared = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    return [
        start(folder, *program, KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **shared)
        for rank in range(2)
    ]


def outputs(processes):
    """What each of them wrote; one that waits without end is ended."""
    written = []
    try:
        for process in processes:
            out, said = process.communicate(timeout=300)
            assert process.returncode == 0, said[-3000:]
            written.append(out)
    finally:
        for process in processes:
            process.kill()
    return written


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What one process alone found, and each of two together."""
    folder = tmp_path_factory.mktemp("processes")
    written = outputs([start(folder), *start_two(folder)])
    return [json.loads(text.strip().splitlines()[-1]) for text in written]


@on_jax
def test_both_processes_have_the_same_weights_to_the_bit(ran):
    _, first, second = ran
    assert first["weights"] == second["weights"]
    assert first["drawn"] == second["drawn"]
    assert first["drawn"] != first["weights"]


@on_jax
def test_two_processes_do_what_one_does(ran):
    alone, first, _ = ran
    # Sums of eight terms in another order, in float32.
    for one, two in zip(alone["weights"], first["weights"], strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        expected = alone["history"][name]
        np.testing.assert_allclose(first["history"][name], expected, rtol=1e-4)
    assert first["moved"] == alone["moved"]
    assert first["accuracy"] == alone["accuracy"]


@on_jax
def test_validation_knows_which_layer_has_which_weights(ran):
    alone, first, _ = ran
    np.testing.assert_allclose(first["alike"], alone["alike"], rtol=1e-4)


@on_jax
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("minutes", "`minutes` must be None where several processes train"),
        ("resume_dir", "`resume_dir` must be None where several processes train"),
        ("strategy", "`strategy` must be given for a model of several devices"),
        ("number", "number of training images: 16 in process 0, 15 in process 1."),
        ("pixels", "contents of the training images, or their order: process 1 has"),
        ("labels", "labels of the training images: process 1 has others"),
        ("seed", "in the seed: 0 in process 0, 1 in process 1."),
        ("no seed", "in the seed: none in process 0, 1 in process 1."),
        ("batch_size", "in the batch_size: 8 in process 0, 16 in process 1."),
        ("epochs", "epochs of phase 2, 'all': 1 in process 0, 2 in process 1."),
        ("callbacks", "callbacks: [] in process 0, ['EarlyStopping'] in process 1."),
        ("names", "names or sizes of the training images, or their order: process 1"),
        ("first", "0.bmp"),
        ("broken", "15.bmp"),
        ("alone", r"built in the scope of the processes"),
        ("differ", "process 1 differ from those of process 0 before the first phase"),
        ("transfer", "fine_tune or run_phases"),
    ],
)
def test_what_each_would_decide_by_itself_is_refused(ran, what, said):
    for found in ran[1:]:
        assert said in found[what]


@on_jax
def test_files_may_lie_elsewhere_in_each_process_and_one_writes_the_log(ran):
    assert [found["elsewhere"] for found in ran[1:]] == [None, None]


@on_jax
def test_what_fails_in_one_process_is_told_in_all(ran):
    for what in ("first", "broken"):
        first, second = (found[what] for found in ran[1:])
        assert first.startswith("Process 1 has failed: ")
        assert "Process 1" not in second


@on_jax
def test_an_error_in_one_process_is_not_hidden_by_waiting_for_others(ran):
    assert ran[2]["failing"].startswith("only here ")


@on_jax
def test_the_example_trains_in_both_and_one_writes(tmp_path):
    processes = start_two(tmp_path, str(EXAMPLE), "--tiny")
    written = [text.splitlines() for text in outputs(processes)]
    assert written[0][-1].startswith("accuracy ")
    # JAX's own lines go to every process's output.
    assert [line for line in written[1] if not line.startswith("[Gloo]")] == []
    model = kerastl.load_model(tmp_path / "several_processes.keras")
    assert len(kerastl.class_names(model)) == model.output_shape[-1]


@on_jax
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": "127.0.0.1:1",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "1",
        },
    ],
    ids=["nobody announced", "one announced"],
)
def test_a_process_that_is_alone_is_told(tmp_path, environment):
    if environment:
        address = f"127.0.0.1:{free_port()}"
        environment["KERAS_DISTRIBUTION_JOB_ADDRESSES"] = address
    process = start(tmp_path, KERAS_DISTRIBUTION_PROCESS_ID="0", **environment)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "`kind` must be 'multihost'" in said


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has them")
def test_other_backends_say_which_one_can():
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        kerastl.device_strategy("multihost")


def test_a_strategy_that_keras_cannot_train_in_is_refused():
    class MultiWorkerMirroredStrategy:
        def scope(self):
            raise AssertionError

    with pytest.raises(ValueError, match="device_strategy\\('multihost'\\)"):
        kerastl.device_strategy(MultiWorkerMirroredStrategy())


def batches_of(share, mixing=None):
    images = ImageSet(pixels(11, 8), np.arange(11) % 3, ("a", "b", "c"))
    store = PixelStore(images, image_size=8)
    source = ImageSource(images, store)
    data = source.dataset(
        6,
        seed=3,
        shuffle=True,
        augment="light",
        drop_remainder=True,
        mixing=mixing,
        share=share,
    )
    return [(np.asarray(x), np.asarray(y)) for x, y in data]


def test_the_shares_of_a_batch_are_the_batch():
    whole = batches_of((0, 1))
    shares = [batches_of((number, 3)) for number in range(3)]
    assert [len(x) for share in shares for x, _ in share] == [2, 2, 2]
    for number, (images, labels) in enumerate(whole):
        found = [share[number] for share in shares]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), images)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), labels)


def test_partners_of_mixing_are_of_the_same_share():
    # Labels are shares of classes that sum to one whatever the partner is: a partner
    # outside of the share would be a row that is not there.
    for number in range(3):
        for _, labels in batches_of((number, 3), Mixing(mixup=0.5)):
            np.testing.assert_allclose(labels.sum(-1), 1, rtol=1e-6)
