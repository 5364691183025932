"""The formats of other programs: how Keras writes each, and what runs it.

Run as a program it writes one format of one `.keras` file on TensorFlow: what a process
on another backend asks of it.
"""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.layers import Normalization

from kerastl._checks import check_choice, fail
from kerastl._compat import sublayers
from kerastl._files import one_line
from kerastl.tasks.building import load_model, save_model
from kerastl.tasks.task import BoundModel, bind_known

#: From pixels `(n, height, width, channels)` float32 to answers.
Runtime = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Format:
    """A format of other programs.

    Attributes:
        keras_name: What `keras.Model.export` calls it.
        file: The file, or folder, that is written and read.
        files: All files of it.
        modules: What writing and running it imports.
        open: From the file to a `Runtime`.
        quantize: Writes it with activations of 8 bits, from the model for export, the
            file, and pixels that the ranges are taken from; None: that is not offered.
    """

    keras_name: str
    file: str
    files: tuple[str, ...]
    modules: tuple[str, ...]
    open: Callable[[Path], Runtime]
    quantize: Callable[[keras.Model, Path, np.ndarray], None] | None = None


def _open_onnx(path: Path) -> Runtime:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels})[0]


def _open_litert(path: Path) -> Runtime:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(pixels: np.ndarray) -> np.ndarray:
        # A batch of one is what the file was laid out for.
        interpreter.resize_tensor_input(into["index"], pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(into["index"], pixels)
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])

    return run


def _open_savedmodel(path: Path) -> Runtime:
    import tensorflow as tf

    # Held by the function: the variables go with the last reference to it.
    loaded = tf.saved_model.load(str(path))
    return lambda pixels: loaded.serve(tf.constant(pixels)).numpy()


def _import_openvino() -> Any:
    """OpenVINO without its reporter, which tells Google Analytics of each import.

    OpenVINO does without where that package is missing. It forks a process to send,
    which JAX does not survive for certain.
    """
    name = "openvino_telemetry"
    known = name in sys.modules
    if not known:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if not known:
            del sys.modules[name]
    return openvino


def _open_openvino(path: Path) -> Runtime:
    openvino = _import_openvino()
    # A processor that has bfloat16 would compute in it.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", exact)
    return lambda pixels: compiled(pixels)[0]


def _quantize_litert(model: keras.Model, path: Path, pixels: np.ndarray) -> None:
    import tensorflow as tf

    def examples() -> Iterator[list[np.ndarray]]:
        for image in pixels:
            yield [image[None].astype("float32")]

    model.export(
        str(path),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=examples,
        # Without it the converter keeps in float32 what it cannot quantise.
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
    )


def _quantize_onnx(model: keras.Model, path: Path, pixels: np.ndarray) -> None:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, folded = path.with_name("float.onnx"), path.with_name("folded.onnx")
    model.export(str(plain), format="onnx", verbose=False)
    # BatchNorm into its convolution: apart, each would be rounded.
    quant_pre_process(plain, folded, skip_symbolic_shape=True)
    name = onnxruntime.InferenceSession(folded).get_inputs()[0].name

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(pixels.astype("float32")[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.rows, None)
            return None if row is None else {name: row}

    # One scale for all channels ruins depthwise convolutions.
    quantize_static(folded, path, Examples(), per_channel=True)
    plain.unlink()
    folded.unlink()


FORMATS = {
    "onnx": Format(
        "onnx",
        "model.onnx",
        ("model.onnx",),
        ("tf2onnx", "onnx", "onnxruntime"),
        _open_onnx,
        _quantize_onnx,
    ),
    "litert": Format(
        "litert",
        "model.tflite",
        ("model.tflite",),
        ("ai_edge_litert",),
        _open_litert,
        _quantize_litert,
    ),
    "savedmodel": Format(
        "tf_saved_model",
        "saved_model",
        tuple(
            f"saved_model/{name}"
            for name in (
                "saved_model.pb",
                "fingerprint.pb",
                "variables/variables.index",
                "variables/variables.data-00000-of-00001",
            )
        ),
        (),
        _open_savedmodel,
    ),
    "openvino": Format(
        "openvino",
        "model.xml",
        ("model.xml", "model.bin"),
        ("openvino",),
        _open_openvino,
    ),
}


def find_format(name: str) -> Format:
    """The format of that name, if what it needs is installed.

    Raises:
        ValueError: If there is none of the name.
        ImportError: If a package is missing.
    """
    check_choice("format", name, tuple(FORMATS))
    found = FORMATS[name]
    missing = [module for module in found.modules if find_spec(module) is None]
    if missing:
        hint = "Install them: pip install 'kerastl[export]'"
        expected = f"one whose packages are there: {', '.join(missing)} are missing"
        fail("format", expected, name, hint, ImportError)
    if "openvino" in found.modules:
        # Before Keras does.
        _import_openvino()
    return found


def answering(bound: BoundModel) -> keras.Model:
    """The model as it is exported: from pixels of its size to what `decode` gives."""
    record = bound.record
    pixels = keras.Input((*record.image_size, record.channels), name="pixels")
    answers = bound.task.answers(bound.model(pixels, training=False))
    model = keras.Model(pixels, answers)
    # Some of Keras's writers want a model that has been called.
    model(np.zeros((1, *pixels.shape[1:]), "float32"))
    return model


@contextmanager
def _plain_constants(model: keras.Model) -> Iterator[None]:
    """The mean and variance of `Normalization` as arrays of NumPy meanwhile.

    They are tensors, and those that belong to no variable tf2onnx takes for inputs.
    """
    found = [each for each in sublayers(model) if isinstance(each, Normalization)]
    kept = [(layer.mean, layer.variance) for layer in found]
    try:
        for layer, tensors in zip(found, kept, strict=True):
            layer.mean, layer.variance = map(keras.ops.convert_to_numpy, tensors)
        yield
    finally:
        for layer, (mean, variance) in zip(found, kept, strict=True):
            layer.mean, layer.variance = mean, variance


def write(
    bound: BoundModel, name: str, folder: Path, calibration: np.ndarray | None = None
) -> None:
    """Write a model in a format of `FORMATS`.

    On another backend than TensorFlow that is done by a process of its own on a copy of
    the model: of the formats here Keras writes only some there, and those in terms of
    the other backend.

    Args:
        bound: The model.
        name: The format.
        folder: Where to; it exists.
        calibration: Pixels `(n, height, width, channels)` that the ranges of
            activations of 8 bits are taken from; None: float32.

    Raises:
        ValueError: If it cannot be written.
    """
    try:
        if keras.backend.backend() == "tensorflow":
            _write_here(bound, name, folder, calibration)
        else:
            _write_on_tensorflow(bound, name, folder, calibration)
    # Each of four converters has exceptions of its own.
    except Exception as error:
        hint = f"Its converter says: {one_line(error)}."
        fail("model", f"one that can be written as {name}", bound.model.name, hint)


def _write_here(
    bound: BoundModel, name: str, folder: Path, calibration: np.ndarray | None
) -> None:
    found, model = FORMATS[name], answering(bound)
    path = folder / found.file
    with warnings.catch_warnings(), _plain_constants(bound.model), _quiet_writer():
        # Of the converters, on what is to come in later versions of NumPy.
        warnings.simplefilter("ignore")
        if calibration is None:
            model.export(str(path), format=found.keras_name, verbose=False)
        else:
            found.quantize(model, path, calibration)


@contextmanager
def _quiet_writer() -> Iterator[None]:
    """Keep TensorFlow from naming the draft's place, which is gone when it is read."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    # Whoever wants less of it keeps that.
    logger.setLevel(max(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_on_tensorflow(
    bound: BoundModel, name: str, folder: Path, calibration: np.ndarray | None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        path, pixels = Path(place) / "model.keras", Path(place) / "pixels.npy"
        save_model(bound.model, path)
        words = [name, str(path), str(folder)]
        if calibration is not None:
            np.save(pixels, calibration)
            words.append(str(pixels))
        done = subprocess.run(
            [sys.executable, "-m", "kerastl.export.formats", *words],
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2])


def _main(name: str, model: str, folder: str, pixels: str = "") -> None:
    find_format(name)
    calibration = np.load(pixels) if pixels else None
    _write_here(bind_known(load_model(model)), name, Path(folder), calibration)


if __name__ == "__main__":
    _main(*sys.argv[1:])
