"""Adapters change kernels by at most their rank, and go without a trace."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    outputs,
    pixels,
    small_classifier,
    small_network,
    trains,
    values,
)

import kerastl
from kerastl import Phase
from kerastl.models.freezing import train_only
from kerastl.models.lora import add_lora, merge_lora

HEAD = {"head_dense/kernel", "head_dense/bias"}


def adapter(*numbers):
    return {f"conv{number}/lora_kernel_{part}" for number in numbers for part in "ab"}


def array(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def kernel(model, name):
    return array(model.get_layer(name).kernel)


def frozen_kernel(model, name):
    layer = model.get_layer(name)
    return array(next(w for w in layer.weights if w.name == "kernel"))


def train(model, epochs=3, **options):
    phase = Phase(
        "lora", trainable="lora", epochs=epochs, learning_rate=0.02, **options
    )
    return kerastl.run_phases(model, coloured(3), phases=[phase], seed=0, batch_size=3)


def taught(**options):
    """A classifier whose head is not zero, so that gradients reach the backbone."""
    keras.utils.set_random_seed(0)
    model = small_classifier(learnt=True, dropout=0, **options)
    dense = model.get_layer("head_dense")
    # A tenth: sure of nothing, so that training does not begin with wild steps.
    dense.set_weights([0.1 * weight for weight in dense.get_weights()])
    return model


@pytest.fixture
def model():
    return taught()


@pytest.fixture
def trained(model):
    add_lora(model, rank=2, alpha=3.0)
    train(model)
    return model


def test_new_adapters_change_no_output(model):
    before = outputs(model, pixels())
    add_lora(model, rank=3)
    np.testing.assert_array_equal(outputs(model, pixels()), before)


def test_exactly_adapters_and_head_train(model):
    kerastl.unfreeze(model, "all", batch_norm="train")
    add_lora(model, rank=2)
    assert trains(model) == HEAD | adapter(1, 2, 3)


def test_exactly_adapters_and_head_move(model):
    add_lora(model, rank=2)
    history = train(model)
    assert set(history.phases[0].moved) == HEAD | adapter(1, 2, 3)


def test_the_first_step_moves_b_alone(model):
    add_lora(model, rank=2)
    before = values(model)
    images, labels = coloured(2)
    model.compile(keras.optimizers.SGD(0.1), model.loss)
    model.train_on_batch(images.astype("float32"), labels)
    pairs = zip(model.weights, before, values(model), strict=True)
    moved = {w.path for w, old, new in pairs if not np.array_equal(old, new)}
    assert moved == HEAD | {f"conv{n}/lora_kernel_b" for n in (1, 2, 3)}


def test_the_first_step_is_the_gradient_seen_through_a():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 1, 1, 5)).astype("float32")
    y = rng.normal(size=(7, 1)).astype("float32")
    inputs = keras.Input((1, 1, 5))
    middle = layers.Dense(4, name="project")(inputs)
    end = layers.Dense(1, name="end")(layers.GlobalAveragePooling2D()(middle))
    model = keras.Model(inputs, end)
    w, c = kernel(model, "project"), kernel(model, "end")
    add_lora(model, rank=2, alpha=6.0)
    layer = model.get_layer("project")
    a = array(layer.lora_kernel_a)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.train_on_batch(x, y)
    flat = x[:, 0, 0].astype("float64")
    slope = 2 / len(y) * flat.T @ (flat @ w @ c - y) @ c.T
    np.testing.assert_allclose(
        array(layer.lora_kernel_b), -0.5 * 3.0 * a.T @ slope, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(array(layer.lora_kernel_a), a)


def test_kernels_change_by_scaled_products_of_that_rank(model):
    before = {f"conv{n}": kernel(model, f"conv{n}") for n in (1, 2, 3)}
    add_lora(model, rank=2, alpha=3.0)
    train(model)
    for name, old in before.items():
        layer = model.get_layer(name)
        a, b = array(layer.lora_kernel_a), array(layer.lora_kernel_b)
        np.testing.assert_array_equal(frozen_kernel(model, name), old)
        change = (kernel(model, name) - old).reshape(-1, old.shape[-1])
        np.testing.assert_allclose(
            change, 1.5 * a.reshape(-1, 2) @ b, rtol=1e-4, atol=1e-6
        )
        sizes = np.linalg.svd(change, compute_uv=False)
        assert sizes[1] > 1e-4 * sizes[0]
        assert sizes[2] < 1e-5 * sizes[0]


def test_a_pointwise_convolution_is_adapted_as_a_dense_layer_is():
    images = keras.Input((4, 4, 6))
    rng = np.random.default_rng(0)
    w, a, b = (rng.normal(size=shape) for shape in [(6, 5), (6, 2), (2, 5)])
    found = []
    for layer in (layers.Dense(5, use_bias=False), layers.Conv2D(5, 1, use_bias=False)):
        model = keras.Model(images, layer(images))
        add_lora(model, rank=2, alpha=5.0)
        extra = (1, 1) if len(layer.lora_kernel_a.shape) == 4 else ()
        layer.lora_kernel_a.assign(a.reshape(*extra, 6, 2))
        layer.lora_kernel_b.assign(b)
        next(v for v in layer.weights if v.name == "kernel").assign(
            w.reshape(*extra, 6, 5)
        )
        x = np.random.default_rng(1).normal(size=(2, 4, 4, 6)).astype("float32")
        found.append(outputs(model, x))
    np.testing.assert_allclose(found[0], x @ (w + 2.5 * a @ b), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)


def stored_kernel(model, name):
    """The variable, without what an adapter adds to it."""
    weights = model.get_layer(name).weights
    return np.array(next(w for w in weights if w.name == "kernel"))


def test_merging_keeps_kernels_and_predictions(trained):
    kernels = [kernel(trained, f"conv{n}") for n in (1, 2, 3)]
    before = outputs(trained, pixels())
    for number, old in enumerate(kernels, 1):
        assert not np.allclose(stored_kernel(trained, f"conv{number}"), old, atol=1e-4)
    merge_lora(trained)
    for number, old in enumerate(kernels, 1):
        np.testing.assert_array_equal(kernel(trained, f"conv{number}"), old)
        np.testing.assert_array_equal(stored_kernel(trained, f"conv{number}"), old)
    np.testing.assert_allclose(outputs(trained, pixels()), before, rtol=1e-5, atol=1e-5)


def test_merging_writes_the_adapters_into_the_weights(model):
    images, rng = pixels(), np.random.default_rng(0)
    plain = outputs(model, images)
    add_lora(model, rank=2, alpha=3.0)
    expected = {}
    for number in (1, 2, 3):
        layer = model.get_layer(f"conv{number}")
        a, b = (
            rng.normal(size=factor.shape).astype("float32")
            for factor in (layer.lora_kernel_a, layer.lora_kernel_b)
        )
        layer.lora_kernel_a.assign(a)
        layer.lora_kernel_b.assign(b)
        expected[layer.name] = frozen_kernel(model, layer.name) + 1.5 * (a @ b)
    adapted = outputs(model, images)
    assert np.abs(adapted - plain).max() > 0.1
    merge_lora(model)
    assert not [w.path for w in model.weights if "lora" in w.path]
    for name, merged in expected.items():
        np.testing.assert_allclose(frozen_kernel(model, name), merged, atol=1e-5)
    np.testing.assert_allclose(outputs(model, images), adapted, rtol=1e-4, atol=1e-4)


def test_merging_leaves_a_plain_network(trained, tmp_path):
    merge_lora(trained)
    plain = small_classifier(dropout=0)
    assert [w.path for w in trained.weights] == [w.path for w in plain.weights]
    assert trains(trained) == HEAD
    kerastl.unfreeze(trained, "all", batch_norm="train")
    kerastl.unfreeze(plain, "all", batch_norm="train")
    assert trains(trained) == trains(plain)
    kerastl.save_model(trained, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert "lora" not in archive.read("config.json").decode()


def test_adapters_can_be_added_again_after_merging(trained):
    merge_lora(trained)
    before = outputs(trained, pixels())
    add_lora(trained, rank=1)
    np.testing.assert_array_equal(outputs(trained, pixels()), before)
    assert trains(trained) == HEAD | adapter(1, 2, 3)


def test_a_prediction_traced_before_is_not_repeated_after(model):
    images = pixels().astype("float32")
    model.predict(images, verbose=0)
    add_lora(model, rank=2)
    for number in (1, 2, 3):
        layer = model.get_layer(f"conv{number}")
        layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.1))
    adapted = model.predict(images, verbose=0)
    np.testing.assert_allclose(adapted, outputs(model, images), rtol=1e-4, atol=1e-4)
    merge_lora(model)
    merged = model.predict(images, verbose=0)
    np.testing.assert_allclose(merged, adapted, rtol=1e-4, atol=1e-4)


def test_a_function_traced_before_merging_does_not_add_adapters_twice(trained):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX functions keep no variables")
    import tensorflow as tf

    traced = tf.function(lambda x: trained(x, training=False))
    images = pixels().astype("float32")
    before = traced(images).numpy()
    merge_lora(trained)
    np.testing.assert_allclose(traced(images).numpy(), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("blocks", "numbers"),
    [
        ("all", (1, 2, 3)),
        (1, (3,)),
        ("block_2", (2, 3)),
        (("conv1", "block_3"), (1, 3)),
        (["conv2"], (2,)),
    ],
)
def test_adapters_go_into_the_chosen_blocks(model, blocks, numbers):
    report = add_lora(model, rank=2, blocks=blocks)
    assert trains(model) == HEAD | adapter(*numbers)
    assert report.adapted == tuple(f"conv{number}" for number in numbers)


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("head", set()),
        (1, adapter(3)),
        (("conv2",), adapter(2)),
        (("bn1",), {"bn1/gamma", "bn1/beta"}),
        (
            "all",
            adapter(2, 3)
            | {"conv1/kernel"}
            | {f"bn{n}/{name}" for n in (1, 2, 3) for name in ("gamma", "beta")},
        ),
    ],
)
def test_a_kernel_under_an_adapter_never_trains(model, trainable, expected):
    add_lora(model, rank=2, blocks=2)
    kerastl.unfreeze(model, trainable, batch_norm="affine")
    found = {path for path in trains(model) if "bn3" not in path or trainable != 1}
    assert found == HEAD | expected


def test_biases_of_adapted_layers_stay():
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(images)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    add_lora(model, rank=2)
    assert "conv/bias" not in trains(model)


def mobilenet():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    return kerastl.build_classifier(backbone, CLASSES)


def test_the_report_counts_what_was_added_and_left_out():
    model = mobilenet()
    backbone = sum(np.prod(w.shape) for w in model.weights) - 256 * 3 - 3
    report = add_lora(model, rank=4)
    kernels = [
        (np.prod(w.shape[:-1]), w.shape[-1])
        for layer in model.layers
        if type(layer) is layers.Conv2D
        for w in layer.weights
        if w.name == "kernel"
    ]
    added = sum(4 * (rows + columns) for rows, columns in kernels)
    assert report.added == added
    assert report.share == pytest.approx(added / backbone)
    depthwise = [x for x in model.layers if isinstance(x, layers.DepthwiseConv2D)]
    assert report.skipped == tuple(layer.name for layer in depthwise)
    left_out = sum(np.prod(w.shape) for x in depthwise for w in x.weights)
    assert report.skipped_share == pytest.approx(left_out / backbone)
    assert len(report.adapted) == 14
    text = str(report)
    assert f"{added:,} parameters" in text
    assert "DepthwiseConv2D, Keras has no LoRA for it: conv_dw_1, conv_dw_2" in text


def test_the_table_of_what_trains_counts_adapters(model):
    report = add_lora(model, rank=2, blocks=1)
    table = kerastl.trainable_report(model)
    assert table.rows[-2].trainable == report.added
    assert table.trainable == report.added + 4 * 3 + 3


def test_a_seed_gives_the_same_adapters_and_each_layer_its_own():
    drawn = []
    for seed in (0, 0, 1):
        model = small_classifier()
        add_lora(model, rank=2, seed=seed)
        drawn.append([array(model.get_layer(f"conv{n}").lora_kernel_a) for n in (2, 3)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0][0], drawn[0][1])


def attention_model():
    x = images = keras.Input((4, 4, 6))
    x = layers.Reshape((16, 6), name="rows")(x)
    x = layers.MultiHeadAttention(2, 3, dropout=0.5, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(images, layers.Dense(2, name="dense")(x))


def test_layers_inside_layers_are_adapted():
    model = attention_model()
    report = add_lora(model, rank=2)
    assert report.adapted == tuple(
        f"attention/{name}" for name in ("query", "key", "value", "attention_output")
    )
    expected = {
        f"{name}/lora_kernel_{part}" for name in report.adapted for part in "ab"
    }
    assert trains(model) == {"dense/kernel", "dense/bias"} | expected


def test_embeddings_are_adapted():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 6, name="table")(words)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    model = keras.Model(words, layers.Dense(2, name="dense")(x))
    add_lora(model, rank=2)
    table = model.get_layer("table")
    table.lora_embeddings_b.assign(np.ones((2, 6)))
    before = array(table.embeddings)
    assert not np.array_equal(before, array(table.weights[0]))
    merge_lora(model)
    np.testing.assert_array_equal(array(table.embeddings), before)


def test_constrained_kernels_are_left_out():
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, kernel_constraint="max_norm", name="bound")(images)
    x = layers.Conv2D(4, 3, name="free")(x)
    model = keras.Model(images, x)
    assert add_lora(model, rank=2).skipped == ("bound",)


def test_adapters_work_in_mixed_precision():
    model = taught(precision="mixed_float16")
    before = outputs(model, pixels())
    add_lora(model, rank=2)
    np.testing.assert_array_equal(outputs(model, pixels()), before)
    history = train(model, epochs=2)
    assert adapter(1, 2, 3) <= set(history.phases[0].moved)
    before = outputs(model, pixels())
    merge_lora(model)
    np.testing.assert_allclose(outputs(model, pixels()), before, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"rank": 5}, ValueError, "at most 4, which is all .* of 'conv1' has"),
        ({"rank": 0}, ValueError, "`rank` must be at least 1"),
        ({"rank": 2.0}, TypeError, "`rank` must be an integer"),
        ({"alpha": 0.0}, ValueError, "`alpha` must be above 0"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"blocks": "norm"}, ValueError, "`blocks` must be 'all', a block"),
        ({"blocks": "head"}, ValueError, "`blocks` must be 'all', a block"),
        ({"blocks": "blok_3"}, ValueError, "`blocks` must be .* 'block_3'"),
        ({"blocks": 4}, ValueError, "`blocks` must be at most 3"),
        ({"blocks": ("bn1",)}, ValueError, "a layer that LoRA can adapt"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    model, settings, error, sentence
):
    before, flags = values(model), trains(model)
    with pytest.raises(error, match=sentence):
        add_lora(model, **settings)
    assert_same_weights(model, before)
    assert trains(model) == flags


def test_a_network_of_depthwise_layers_alone_is_refused():
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, layers.DepthwiseConv2D(3)(images), name="thin")
    with pytest.raises(ValueError, match=r"DepthwiseConv2D.*convolutional.*thin"):
        add_lora(model)


def test_adapters_are_added_once(model):
    add_lora(model, rank=2)
    with pytest.raises(ValueError, match=r"3 layers with one, 'conv1'.*lora\.merge"):
        add_lora(model, rank=2)


def test_nothing_to_merge_is_refused(model):
    with pytest.raises(ValueError, match=r"Call kerastl\.lora\.add first"):
        merge_lora(model)


@pytest.mark.parametrize("function", [add_lora, merge_lora])
def test_a_model_without_a_graph_is_refused(function):
    with pytest.raises(TypeError, match=r"functional keras.Model"):
        function("model")


def reloaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras", compile=False)


def fit(model, epochs=4):
    images, labels = coloured(3)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(images.astype("float32"), labels, epochs=epochs, verbose=0)


def test_keras_reads_adapters_back_as_zeros_that_never_train(trained, tmp_path):
    """Why `train_only` draws A anew: both gradients are products with a zero."""
    loaded = reloaded(trained, tmp_path)
    fit(loaded)
    for number in (1, 2, 3):
        layer = loaded.get_layer(f"conv{number}")
        assert not np.any(array(layer.lora_kernel_a))
        assert not np.any(array(layer.lora_kernel_b))


def test_adapters_that_keras_read_back_train_again(trained, tmp_path):
    before = outputs(trained, pixels())
    loaded = reloaded(trained, tmp_path)
    train_only(loaded, "lora")
    np.testing.assert_allclose(outputs(loaded, pixels()), before, rtol=1e-4, atol=1e-4)
    history = train(loaded)
    assert set(history.phases[0].moved) == HEAD | adapter(1, 2, 3)


def test_waking_leaves_living_adapters_alone(trained):
    before = values(trained)
    train_only(trained, "lora")
    assert_same_weights(trained, before)


@pytest.mark.parametrize("writer", ["kerastl", "keras"])
def test_a_classifiers_file_holds_a_plain_network(trained, tmp_path, writer):
    path, before = tmp_path / "model.keras", outputs(trained, pixels())
    if writer == "keras":
        trained.save(path)
    else:
        kerastl.save_model(trained, path)
    assert trains(trained) == HEAD | adapter(1, 2, 3)
    loaded = kerastl.load_model(path)
    np.testing.assert_allclose(outputs(loaded, pixels()), before, rtol=1e-4, atol=1e-4)
    assert trains(loaded) == HEAD
    plain = small_classifier(dropout=0)
    assert [w.path for w in loaded.weights] == [w.path for w in plain.weights]
    add_lora(loaded, rank=2)
    assert set(train(loaded).phases[0].moved) == HEAD | adapter(1, 2, 3)


def test_the_best_weights_bring_their_adapters(model):
    add_lora(model, rank=2)
    train(model, epochs=2)
    images, labels = coloured(3)
    before = values(model)
    phase = Phase("lora", trainable="lora", epochs=2, learning_rate=0.02)
    history = kerastl.run_phases(
        model,
        # Labels that undo what was learnt.
        (images, (labels + 1) % 3),
        (images, labels),
        phases=[phase],
        seed=0,
        batch_size=3,
        monitor="val_loss",
    )
    assert history.best.phase == "start"
    assert set(history.phases[0].moved) == HEAD | adapter(1, 2, 3)
    assert_same_weights(model, before)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_part_below_the_adapters_may_be_computed_once(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path))
    found = []
    for mode in ("off", cache):
        model = taught()
        add_lora(model, rank=2, blocks=1)
        phase = Phase("lora", trainable="lora", epochs=3, learning_rate=0.02)
        history = kerastl.run_phases(
            model, coloured(3), phases=[phase], seed=0, batch_size=3, cache=mode
        )
        assert history.phases[0].cached == (mode != "off")
        found.append(values(model))
    for plain, cached in zip(*found, strict=True):
        np.testing.assert_allclose(cached, plain, rtol=1e-5, atol=1e-6)


def test_a_bare_backbone_is_adapted_too():
    network = small_network()
    add_lora(network, rank=2)
    assert trains(network) == adapter(1, 2, 3)
    assert json.dumps(network.get_config()).count('"lora_rank": 2') == 3
