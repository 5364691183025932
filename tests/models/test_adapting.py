"""Other people's networks: copied flat, with the preprocessing they expect."""

import keras
import numpy as np
import pytest
from networks import CLASSES, assert_same_weights, coloured, small_network, values

import kerastl
from kerastl.models.adapting import adapt_backbone
from kerastl.models.backbones import build_backbone


def own_model(scaling=None, name="own"):
    """Two convolutions on 16x16 images, with a user's scaling in front if given."""
    inputs = keras.Input((16, 16, 3))
    x = inputs if scaling is None else scaling(inputs)
    x = keras.layers.Conv2D(4, 3, name="conv1")(x)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    return keras.Model(inputs, keras.layers.Conv2D(5, 3, name="conv2")(x), name=name)


def pixels(size=16):
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype("uint8")


def outputs(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch"])
def test_pixels_are_prepared_as_keras_does(mode):
    model = own_model()
    prepared = keras.applications.imagenet_utils.preprocess_input(
        pixels().astype("float32"), mode=mode
    )
    np.testing.assert_allclose(
        outputs(adapt_backbone(model, preprocessing=mode), pixels()),
        outputs(model, prepared),
        rtol=1e-3,
        atol=1e-4,
    )


def test_none_hands_pixels_through():
    model = own_model()
    np.testing.assert_array_equal(
        outputs(adapt_backbone(model, preprocessing="none"), pixels()),
        outputs(model, pixels().astype("float32")),
    )


@pytest.mark.parametrize("many", [False, True])
def test_a_layer_or_a_list_of_layers_prepares_the_pixels(many):
    model = own_model()
    layer = keras.layers.Rescaling(1 / 255)
    adapted = adapt_backbone(model, preprocessing=[layer] if many else layer)
    np.testing.assert_allclose(
        outputs(adapted, pixels()),
        outputs(model, pixels().astype("float32") / 255),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_users_model_is_left_alone():
    model = own_model()
    before = model.get_weights()
    adapted = adapt_backbone(model, preprocessing="tf")
    adapted.set_weights([array + 1 for array in adapted.get_weights()])
    adapted.trainable = False
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.trainable_weights
    assert [layer.name for layer in model.layers[1:]] == ["conv1", "bn1", "conv2"]


def test_nested_models_are_unfolded():
    inputs = keras.Input((16, 16, 3))
    body = own_model(name="body")(inputs)
    tail = keras.Sequential(
        [keras.Input((12, 12, 5)), keras.layers.Conv2D(2, 1, name="conv1")]
    )
    model = keras.Model(inputs, tail(body), name="nested")
    adapted = adapt_backbone(model, preprocessing="none")
    names = [layer.name for layer in adapted.layers]
    assert names == ["images", "preprocessing", "conv1", "bn1", "conv2", "conv1_2"]
    np.testing.assert_allclose(
        outputs(adapted, pixels()),
        outputs(model, pixels().astype("float32")),
        rtol=1e-5,
    )


def test_a_layer_used_twice_stays_one_layer():
    inputs = keras.Input((16, 16, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    model = keras.Model(inputs, shared(shared(inputs)))
    adapted = adapt_backbone(model, preprocessing="none")
    assert len(adapted.weights) == 2
    np.testing.assert_allclose(
        outputs(adapted, pixels()),
        outputs(model, pixels().astype("float32")),
        rtol=1e-5,
    )


def test_a_sum_written_with_a_plus_sign_is_copied():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    model = keras.Model(inputs, x + inputs)
    np.testing.assert_allclose(
        outputs(adapt_backbone(model, preprocessing="none"), pixels()),
        outputs(model, pixels().astype("float32")),
        rtol=1e-5,
    )


def test_another_image_size_can_be_asked_for():
    adapted = adapt_backbone(own_model(), preprocessing="tf", image_size=(20, 24))
    assert adapted.input_shape == (None, 20, 24, 3)
    assert adapted.output_shape == (None, 16, 20, 5)
    assert adapted.get_layer("preprocessing").image_size == (20, 24)


def test_dropout_of_the_copy_is_off_while_frozen():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, name="drop")(inputs))
    adapted = adapt_backbone(model, preprocessing="none")
    adapted.get_layer("drop").trainable = False
    still = keras.ops.convert_to_numpy(adapted(pixels(), training=True))
    np.testing.assert_array_equal(still, pixels().astype("float32"))


def test_a_size_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="`image_size` must be one that own can take"):
        adapt_backbone(own_model(), preprocessing="tf", image_size=2)


def test_a_built_sequential_is_taken():
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(2, 3)])
    adapted = adapt_backbone(model, preprocessing="tf")
    assert adapted.output_shape == (None, 14, 14, 2)


def test_a_saved_copy_reads_back_the_same(tmp_path):
    adapted = adapt_backbone(own_model(), preprocessing="torch")
    adapted.save(tmp_path / "own.keras")
    again = keras.models.load_model(tmp_path / "own.keras")
    np.testing.assert_array_equal(outputs(again, pixels()), outputs(adapted, pixels()))


def test_a_sequential_never_called_is_refused():
    with pytest.raises(TypeError, match=r"unbuilt Sequential.*Put keras.Input"):
        adapt_backbone(
            keras.Sequential([keras.layers.Conv2D(2, 3)]), preprocessing="tf"
        )


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(TypeError, match=r"a functional keras.Model.*'Own'"):
        adapt_backbone(Own(), preprocessing="tf")


def test_several_inputs_are_refused():
    left, right = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model([left, right], keras.layers.Add()([left, right]))
    with pytest.raises(ValueError, match=r"a model with one input.*'2 inputs'"):
        adapt_backbone(model, preprocessing="tf")


def test_several_outputs_are_refused():
    inputs = keras.Input((8, 8, 3))
    two = [keras.layers.Conv2D(2, 1)(inputs), keras.layers.Conv2D(2, 1)(inputs)]
    with pytest.raises(ValueError, match=r"a model with one output.*'2 outputs'"):
        adapt_backbone(keras.Model(inputs, two), preprocessing="tf")


def test_a_model_with_a_head_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(ValueError, match=r"rank 4.*\(None, 3\).*before pooling"):
        adapt_backbone(model, preprocessing="tf")


def test_another_number_of_channels_is_refused():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match=r"RGB images.*\(None, 8, 8, 1\)"):
        adapt_backbone(model, preprocessing="tf")


@pytest.mark.parametrize("mode", ["torch", keras.layers.Rescaling(1 / 255)])
@pytest.mark.parametrize("nested", [False, True])
def test_scaling_twice_is_refused(mode, nested):
    model = own_model(keras.layers.Rescaling(1 / 255, name="scale"))
    if nested:
        inputs = keras.Input((16, 16, 3))
        model = keras.Model(inputs, model(inputs))
    with pytest.raises(ValueError, match=r"must be 'none'.*in its layer 'scale'"):
        adapt_backbone(model, preprocessing=mode)


def test_scaling_behind_a_convolution_is_the_networks_own_business():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.Rescaling(0.5)(x))
    adapted = adapt_backbone(model, preprocessing="tf")
    assert adapted.output_shape == (None, 14, 14, 4)


def test_a_network_that_scales_by_itself_is_taken_with_none():
    model = own_model(keras.layers.Rescaling(1 / 255))
    np.testing.assert_allclose(
        outputs(adapt_backbone(model, preprocessing="none"), pixels()),
        outputs(model, pixels().astype("float32")),
        rtol=1e-5,
    )


def test_a_backbone_built_by_kerastl_is_refused():
    model = build_backbone("MobileNet", alpha=0.25, image_size=32, weights=None)
    with pytest.raises(ValueError, match="not built by kerastl"):
        adapt_backbone(model, preprocessing="none")


@pytest.mark.parametrize("wrong", [None, 3, [], [3]])
def test_preprocessing_of_another_type_is_refused(wrong):
    with pytest.raises(TypeError, match="`preprocessing` must be one of 'tf'"):
        adapt_backbone(own_model(), preprocessing=wrong)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'torche'.*'torch'\?"):
        adapt_backbone(own_model(), preprocessing="torche")


@pytest.mark.filterwarnings("ignore")
def test_a_keras_hub_backbone_is_taken():
    keras_hub = pytest.importorskip("keras_hub")
    model = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )
    adapted = adapt_backbone(model, preprocessing="torch", image_size=32)
    prepared = keras.applications.imagenet_utils.preprocess_input(
        pixels(32).astype("float32"), mode="torch"
    )
    np.testing.assert_allclose(
        outputs(adapted, pixels(32)), outputs(model, prepared), rtol=1e-3, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore")
def test_a_keras_cv_backbone_is_taken():
    pytest.importorskip("keras_cv")
    from keras_cv.models import ResNetBackbone

    options = {
        "stackwise_filters": [64],
        "stackwise_blocks": [1],
        "stackwise_strides": [1],
        "block_type": "basic_block",
    }
    model = ResNetBackbone(include_rescaling=False, **options)
    adapted = adapt_backbone(
        model, preprocessing=keras.layers.Rescaling(1 / 255), image_size=32
    )
    np.testing.assert_allclose(
        outputs(adapted, pixels(32)),
        outputs(model, pixels(32).astype("float32") / 255),
        rtol=1e-3,
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="scales by itself"):
        adapt_backbone(
            ResNetBackbone(include_rescaling=True, **options), preprocessing="torch"
        )


# --- a Sequential, or the output in a list ------------------------------------


def written(way):
    """One convolution behind another, as each way of Keras writes it."""
    images = keras.Input((16, 16, 3), name="in")
    layers = [
        keras.layers.Conv2D(4, 3, name="conv1"),
        keras.layers.Dropout(0.5, name="drop"),
        keras.layers.Conv2D(2, 3, name="conv2"),
    ]
    if way == "sequential":
        return keras.Sequential([images, *layers], name="own")
    x = images
    for layer in layers:
        x = layer(x)
    return keras.Model(images, [x] if way == "list" else x, name="own")


def trained_layers(model):
    return {variable.path.split("/")[-2] for variable in model.trainable_variables}


WAYS = ["sequential", "list", "tensor"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_backbone_becomes_a_classifier_however_it_is_written(way, nested):
    own = written(way)
    if nested:
        images = keras.Input((16, 16, 3))
        own = keras.Model(images, keras.layers.ReLU()(own(images)))
    model = kerastl.build_classifier(own, ("ash", "beech"), preprocessing="none")
    assert model.output_shape == (None, 2)
    kerastl.unfreeze(model, ("conv2",))
    assert trained_layers(model) == {"conv2", "head_dense"}
    kernel = next(layer for layer in model.layers if layer.name == "conv1").kernel
    original = written("tensor") if nested else own
    assert kernel is not original.layers[-3].kernel


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_frozen_however_it_is_written(way):
    pool, dense = keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3, name="d")
    own = written(way)
    if way == "sequential":
        model = keras.Sequential([*own.layers, pool, dense])
        model.build((None, 16, 16, 3))
    else:
        y = dense(pool(own.outputs[0]))
        model = keras.Model(own.input, [y] if way == "list" else y)
    kerastl.freeze(model)
    assert trained_layers(model) == {"d"}
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    calm, noisy = (model(images, training=training) for training in (False, True))
    np.testing.assert_array_equal(calm, noisy)
    kerastl.unfreeze(model, 1)
    assert trained_layers(model) == {"conv2", "d"}
    report = kerastl.trainable_report(model)
    assert [row.block for row in report.rows] == ["block_1", "block_2", "head"]
    assert report.trainable == 4 * 9 * 2 + 2 + 3 * 2 + 3


@pytest.mark.parametrize("way", WAYS)
def test_features_come_from_a_model_however_it_is_written(way):
    own = written(way)
    extractor = kerastl.features.FeatureExtractor(own, preprocessing="none")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype("uint8")
    plain = keras.Model(own.inputs[0], own.outputs[0])(images.astype("float32"))
    np.testing.assert_allclose(
        extractor.fit(images).transform(images),
        keras.ops.convert_to_numpy(plain).mean(axis=(1, 2)),
        rtol=1e-4,
    )


@pytest.mark.parametrize("trained", [0, 1])
def test_training_one_model_of_a_backbone_leaves_the_others_their_arrays(trained):
    network = adapt_backbone(small_network(), preprocessing="tf")
    models = [kerastl.build_classifier(network, CLASSES) for _ in range(2)]
    before = values(models[1 - trained])
    data = coloured(2, 16)
    kerastl.fine_tune(models[trained], data, recipe="full", epochs=1, verbose=0)
    assert_same_weights(models[1 - trained], before)
