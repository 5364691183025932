"""Invariant 13: two devices do what one does, with any number of images.

Devices must be made before the backend starts, so the test runs in a process of
its own.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

SCRIPT = """
import json, os, sys
# Only a CPU can be split in two: where there is a GPU, leave it alone.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
from contextlib import nullcontext
import keras, numpy as np
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], two)
import kerastl
from kerastl import Phase

rng = np.random.default_rng(0)
images = rng.integers(0, 255, (17, 8, 8, 3)).astype("uint8")
labels = np.arange(17) % 3

def network():
    start = keras.initializers.GlorotUniform(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=start, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, keras.layers.ReLU(name="relu")(x), name="net")

def train(strategy, count, epochs):
    with strategy.scope() if strategy else nullcontext():
        model = kerastl.build_classifier(
            network(), 3, preprocessing="tf", dropout=0.0)
        # A head of zeros would pass no gradient to the layers below.
        kernel = model.get_layer("head_dense").kernel
        kernel.assign(np.linspace(-1, 1, 12).reshape(4, 3))
    phases = [
        Phase("head", trainable="head", epochs=1, learning_rate=0.1, optimizer="sgd"),
        Phase("all", trainable="all", epochs=epochs, learning_rate=0.1,
              optimizer="sgd")]
    history = kerastl.run_phases(
        model, (images[:count], labels[:count]), (images, labels), phases=phases,
        batch_size=8, strategy=strategy, cache="off", seed=0, verbose=0)
    return model, history

strategy = kerastl.device_strategy("mirrored")
one, alone = train(None, 8, 1)
two, shared = train(strategy, 8, 1)
uneven, rest = train(strategy, 17, 2)
seventeen = kerastl.ImageSet(images, labels, ("0", "1", "2"))
report = kerastl.evaluate(two, seventeen, batch_size=8)
with strategy.scope():
    kerastl.save_model(two, sys.argv[1])
    loaded = kerastl.load_model(sys.argv[1])
refused = []
for batch_size, given in ((7, strategy), (8, None)):
    try:
        kerastl.run_phases(two, (images, labels), phases=[
            Phase("x", trainable="head", epochs=1, learning_rate=0.1)],
            batch_size=batch_size, strategy=given)
    except ValueError as error:
        refused.append(str(error))
print(json.dumps({
    "replicas": strategy.num_replicas_in_sync,
    "one": [w.tolist() for w in one.get_weights()],
    "two": [w.tolist() for w in two.get_weights()],
    "alone": alone.history, "shared": shared.history,
    "moved": [sorted(p.moved) for p in shared.phases],
    "epochs": len(rest.history["val_loss"]),
    "single": kerastl.predict(one, images).probabilities.tolist(),
    "double": kerastl.predict(two, images, batch_size=8).probabilities.tolist(),
    "loaded": kerastl.predict(loaded, images, batch_size=8).probabilities.tolist(),
    "images": report.images, "refused": refused,
}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    if keras.backend.backend() == "torch":
        pytest.skip("Keras shares no work between devices on torch")
    path = tmp_path_factory.mktemp("model") / "model.keras"
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_two_devices_share_the_batch(outcome):
    assert outcome["replicas"] == 2


def test_one_step_on_two_devices_equals_one_on_one(outcome):
    for one, two in zip(outcome["one"], outcome["two"], strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_losses_and_metrics_are_those_of_one_device(outcome):
    for name in ("val_loss", "val_accuracy", "loss"):
        np.testing.assert_allclose(
            outcome["shared"][name], outcome["alone"][name], rtol=1e-5
        )


def test_only_what_is_named_moves_on_two_devices(outcome):
    head = ["head_dense/bias", "head_dense/kernel"]
    assert outcome["moved"][0] == head
    assert outcome["moved"][1] == ["conv/bias", "conv/kernel", *head]


def test_seventeen_images_in_batches_of_eight_train_and_score(outcome):
    assert outcome["epochs"] == 3
    assert outcome["images"] == 17


def test_predictions_are_those_of_one_device(outcome):
    np.testing.assert_allclose(outcome["double"], outcome["single"], rtol=1e-4)
    np.testing.assert_allclose(outcome["loaded"], outcome["double"], rtol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(outcome):
    assert "`batch_size` must be a multiple of the 2 devices" in outcome["refused"][0]


def test_a_model_of_two_devices_is_not_trained_without_its_strategy(outcome):
    # On each of them it would be trained on whole batches.
    assert "`strategy` must be given" in outcome["refused"][1]
