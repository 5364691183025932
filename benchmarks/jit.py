"""One epoch of fine-tuning with and without XLA, on this machine, in plain Keras.

Keras compiles with XLA by default (`jit_compile="auto"`), on a CPU too. kerastl turns
it off for TensorFlow on a CPU; this is why.

    KERAS_BACKEND=tensorflow python benchmarks/jit.py
"""

import time

import keras
import numpy as np

IMAGES, SIZE, EPOCHS = 256, 96, 3


def seconds_per_epoch(jit_compile: bool) -> list[float]:
    """Seconds of each epoch; the first holds the compilation."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNet(
        alpha=0.25, weights=None, classes=5, input_shape=(SIZE, SIZE, 3)
    )
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(IMAGES, SIZE, SIZE, 3)).astype("float32")
    labels = rng.integers(0, 5, IMAGES)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.fit(images, labels, batch_size=32, verbose=0)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    plain, xla = seconds_per_epoch(False), seconds_per_epoch(True)
    for name, seconds in (("without XLA", plain), ("with XLA", xla)):
        print(name, " ".join(f"{value:.2f} s" for value in seconds))
    print(f"ratio of the last epochs, with over without: {xla[-1] / plain[-1]:.1f}")
