"""The transformer: a plain network's features, computed once, for scikit-learn."""

import math
import os
import pickle

import keras
import numpy as np
import pytest
from networks import coloured, pixels, small_classifier, small_network
from PIL import Image
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import kerastl
from kerastl.features.cache import FeatureCache
from kerastl.features.extractor import FeatureExtractor
from kerastl.models.adapting import adapt_backbone
from kerastl.models.layers import SpatialPyramid

IMAGES = pixels(7, 16)


def backbone():
    return adapt_backbone(small_network(), preprocessing="tf")


def maps(model, images, at=None):
    """Feature maps of a plain network."""
    if at is not None:
        model = keras.Model(model.input, model.get_layer(at).output)
    return model.predict(images.astype("float32"), verbose=0)


@pytest.fixture
def count(monkeypatch):
    """Number of images that pass a network; right for `batch_size=1`."""
    seen = []
    plain = keras.Model.predict_on_batch

    def counting(self, batch):
        seen.append(len(batch))
        return plain(self, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counting)
    return seen


def train_a_little(model):
    layer = model.get_layer("conv3")
    layer.set_weights([2 * weight for weight in layer.get_weights()])


# What it computes.


@pytest.mark.parametrize(("pooling", "reduce"), [("avg", np.mean), ("max", np.max)])
def test_features_are_the_pooled_maps_of_the_plain_network(pooling, reduce):
    network = backbone()
    made = FeatureExtractor(network, pooling=pooling).fit_transform(IMAGES)
    expected = reduce(maps(network, IMAGES), axis=(1, 2))
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert made.dtype == np.float32


def test_a_name_stands_for_the_bundled_network():
    images = pixels(3, 32)
    made = FeatureExtractor("MobileNet", alpha=0.25, image_size=32).fit_transform(
        images
    )
    plain = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    np.testing.assert_allclose(
        made, maps(plain, images).mean(axis=(1, 2)), rtol=1e-4, atol=1e-5
    )


def test_a_classifier_stands_for_its_backbone_below_the_head():
    model = small_classifier(learnt=True)
    made = FeatureExtractor(model).fit_transform(IMAGES)
    pooled = keras.Model(model.input, model.get_layer("head_pool_avg").output)
    np.testing.assert_allclose(made, maps(pooled, IMAGES), atol=1e-5)


def test_a_foreign_network_is_put_behind_its_preprocessing():
    own = small_network()
    made = FeatureExtractor(own, preprocessing="tf").fit_transform(IMAGES)
    scaled = IMAGES / 127.5 - 1.0
    expected = maps(own, scaled).mean(axis=(1, 2))
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_a_foreign_network_trained_since_is_copied_again():
    own = small_network()
    extractor = FeatureExtractor(own, preprocessing="tf").fit(IMAGES)
    before = extractor.transform(IMAGES)
    train_a_little(own)
    np.testing.assert_array_equal(extractor.transform(IMAGES), before)
    after = clone(extractor).fit_transform(IMAGES)
    np.testing.assert_allclose(
        after, maps(own, IMAGES / 127.5 - 1.0).mean(axis=(1, 2)), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 4), (5, 7), (9, 8)])
def test_the_pyramid_holds_the_averages_of_each_cell(shape):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(2, *shape, 3)).astype("float32")
    expected = []
    for level in (1, 2, 4):
        for i in range(level):
            for j in range(level):
                rows = range(
                    math.floor(i * shape[0] / level),
                    math.ceil((i + 1) * shape[0] / level),
                )
                columns = range(
                    math.floor(j * shape[1] / level),
                    math.ceil((j + 1) * shape[1] / level),
                )
                cell = [inputs[:, r, c] for r in rows for c in columns]
                expected.append(np.mean(cell, axis=0))
    made = keras.ops.convert_to_numpy(SpatialPyramid()(inputs))
    np.testing.assert_allclose(made, np.concatenate(expected, axis=1), atol=1e-6)


def test_the_pyramid_is_pooled_inside_the_network():
    network = backbone()
    extractor = FeatureExtractor(network, at="relu2", pooling="spp")
    made = extractor.fit_transform(IMAGES)
    quarter = maps(network, IMAGES, "relu2")[:, :2, 2:].mean(axis=(1, 2))
    names = extractor.get_feature_names_out().tolist()
    first = names.index("relu2_2x2_0_1_0")
    np.testing.assert_allclose(made[:, first : first + 4], quarter, atol=1e-5)
    assert made.shape[1] == len(set(names)) == 21 * 4


def test_several_cuts_lie_side_by_side_in_the_order_given():
    network = backbone()
    made = FeatureExtractor(network, at=("relu3", "relu1")).fit_transform(IMAGES)
    expected = [
        maps(network, IMAGES, at).mean(axis=(1, 2)) for at in ("relu3", "relu1")
    ]
    np.testing.assert_allclose(made, np.concatenate(expected, axis=1), atol=1e-5)


def test_several_cuts_take_one_pass(count):
    extractor = FeatureExtractor(backbone(), at=["relu1", "relu2", "relu3"])
    extractor.set_params(batch_size=1).fit_transform(IMAGES)
    assert count == [1] * len(IMAGES)


def test_names_tell_the_cut_and_the_channel():
    extractor = FeatureExtractor(backbone(), at=("relu1", "relu3")).fit(IMAGES)
    expected = [f"relu{block}_{channel}" for block in (1, 3) for channel in range(4)]
    assert extractor.get_feature_names_out().tolist() == expected
    assert extractor.n_features_out_ == 8


def test_a_flat_output_passes_as_it_is():
    inputs = backbone()
    flat = keras.layers.GlobalMaxPooling2D(name="flat")(inputs.output)
    network = keras.Model(inputs.input, flat)
    made = FeatureExtractor(network, pooling="avg").fit_transform(IMAGES)
    np.testing.assert_allclose(made, maps(inputs, IMAGES).max(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_neither_batches_nor_order_change_the_features(batch_size):
    network, order = backbone(), np.array([3, 0, 6, 1, 5, 2, 4])
    plain = FeatureExtractor(network, cache="off").fit_transform(IMAGES)
    options = {"batch_size": batch_size, "cache": "off"}
    made = FeatureExtractor(network, **options).fit_transform(IMAGES[order])
    np.testing.assert_allclose(made, plain[order], atol=1e-6)


def test_random_weights_follow_the_seed():
    def made(seed):
        options = {"alpha": 0.25, "image_size": 32, "weights": None, "seed": seed}
        return FeatureExtractor("MobileNet", **options).fit_transform(pixels(2, 32))

    np.testing.assert_array_equal(made(1), made(1))
    # Random networks without statistics shrink their features to almost nothing.
    assert not np.array_equal(made(1), made(2))


# What it takes.


def test_files_arrays_sets_and_pil_images_give_the_same(tmp_path):
    extractor = FeatureExtractor(backbone(), cache="off").fit(IMAGES)
    paths = [tmp_path / f"{i}.png" for i in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    expected = extractor.transform(IMAGES)
    kinds = [
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        np.array(paths, dtype=object),
        [Image.fromarray(image) for image in IMAGES],
        kerastl.ImageSet(IMAGES, None, ()),
        IMAGES.astype("float64"),
    ]
    for images in kinds:
        np.testing.assert_allclose(extractor.transform(images), expected, atol=1e-6)


def test_grey_images_are_rows_and_not_one_image():
    grey = np.full((5, 16, 4), 100, "uint8")
    assert FeatureExtractor(backbone()).fit_transform(grey).shape == (5, 4)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros((3, 5)), ValueError, "of shape"),
        (np.full((2, 16, 16, 3), 0.5), ValueError, "Multiply by 255"),
        (np.zeros((0, 16, 16, 3)), ValueError, "at least one image"),
        ([], ValueError, "at least one image"),
        ("photo.png", TypeError, "a list of paths, not one path"),
        (["absent.png"], FileNotFoundError, "absent.png"),
        (["."], ValueError, "It is a folder"),
        (7, TypeError, "files, folders, arrays of pixels or PIL images"),
    ],
)
def test_what_holds_no_images_is_refused(images, error, words):
    with pytest.raises(error, match=words):
        FeatureExtractor(backbone()).fit_transform(images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "sum"}, "one of 'avg', 'max', 'spp'"),
        ({"at": "relu9"}, "`at` must be a layer of small"),
        ({"at": ("relu1", "relu1")}, "different cut points"),
        ({"at": ()}, "at least one"),
        ({"resize": "squeeze"}, "`resize`"),
        ({"cache": "always"}, "`cache`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"image_size": 32}, r"\(16, 16\), the backbone's own"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_fit(options, words):
    with pytest.raises(ValueError, match=words):
        FeatureExtractor(backbone(), **options).fit(IMAGES)


def test_a_foreign_network_without_preprocessing_is_refused():
    with pytest.raises(ValueError, match="given for a backbone that was not built"):
        FeatureExtractor(small_network()).fit(IMAGES)


def test_a_pyramid_needs_a_size():
    inputs = keras.Input((None, None, 3))
    own = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    network = adapt_backbone(own, preprocessing="tf")
    with pytest.raises(ValueError, match="images of any size"):
        FeatureExtractor(network, image_size=16, pooling="spp").fit(IMAGES)
    made = FeatureExtractor(network, image_size=16).fit_transform(IMAGES)
    np.testing.assert_allclose(made, maps(network, IMAGES).mean(axis=(1, 2)), atol=1e-5)


# Its conduct as an estimator.


class TableReader(FeatureExtractor):
    """The extractor, with rows of a table drawn as images: what the checks pass."""

    def fit(self, X, y=None):  # noqa: N803
        return super().fit(self._drawn(X, reset=True), y)

    def transform(self, X):  # noqa: N803
        check_is_fitted(self)
        return super().transform(self._drawn(X, reset=False))

    def _drawn(self, X, reset):  # noqa: N803
        table = validate_data(self, X, reset=reset)
        grey = np.rint(255 / (1 + np.exp(-table))).astype("uint8")
        return np.stack([np.resize(row, (4, 4)) for row in grey])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


#: Checks that may fail, and why.
EXPECTED_FAILURES = {
    "check_estimators_overwrite_params": "It compares pickles from before and after "
    "fit, and Keras writes the time of day into the pickle of a network."
}


@pytest.mark.filterwarnings("ignore:Skipping check check_array_api")
def test_scikit_learns_checks_pass_on_tables_drawn_as_images():
    inputs = keras.Input((4, 4, 3))
    own = keras.Model(inputs, keras.layers.Conv2D(3, 2)(inputs))
    reader = TableReader(adapt_backbone(own, preprocessing="tf"))
    done = check_estimator(reader, expected_failed_checks=EXPECTED_FAILURES)
    # Without the adapter scikit-learn yields no check at all.
    assert sum(result["status"] == "passed" for result in done) > 40


def test_settings_stay_as_they_were_given():
    given = {"at": ["relu1"], "image_size": [16, 16], "preprocessing": None}
    extractor = FeatureExtractor(backbone(), **given).fit(IMAGES)
    for name, value in given.items():
        assert extractor.get_params()[name] is value


def test_it_must_be_fitted_first():
    with pytest.raises(NotFittedError):
        FeatureExtractor(backbone()).transform(IMAGES)
    with pytest.raises(NotFittedError):
        FeatureExtractor(backbone()).get_feature_names_out()


def test_a_clone_is_unfitted_and_shares_the_network_with_the_original():
    extractor = FeatureExtractor("MobileNet", alpha=0.25, image_size=32)
    first, second = clone(extractor), clone(clone(extractor))
    assert not first.__sklearn_is_fitted__()
    images = pixels(2, 32)
    assert first.fit(images).network_ is second.fit(images).network_


def test_a_clone_keeps_a_given_backbone_itself():
    network = backbone()
    assert clone(FeatureExtractor(network)).backbone is network


def test_a_clone_keeps_the_kind_of_output():
    pytest.importorskip("pandas")
    extractor = FeatureExtractor(backbone()).set_output(transform="pandas")
    frame = clone(extractor).fit_transform(IMAGES)
    assert frame.columns[0] == "relu3_0"


def test_a_data_frame_carries_the_names():
    pandas = pytest.importorskip("pandas")
    extractor = FeatureExtractor(backbone()).set_output(transform="pandas")
    frame = extractor.fit_transform(IMAGES)
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns.tolist() == [f"relu3_{i}" for i in range(4)]


def test_other_settings_in_a_clone_take_another_network():
    extractor = FeatureExtractor(backbone()).fit(IMAGES)
    for at in (None, "relu2"):
        other = clone(extractor).set_params(at=at, pooling="max").fit(IMAGES)
        expected = maps(extractor.backbone, IMAGES, at).max(axis=(1, 2))
        np.testing.assert_allclose(other.transform(IMAGES), expected, atol=1e-5)


# Never compute twice.


def test_a_grid_search_runs_each_image_through_the_network_once(count):
    images, labels = coloured(10)
    extractor = FeatureExtractor(backbone(), batch_size=1)
    steps = [("features", extractor), ("scale", StandardScaler())]
    pipeline = Pipeline([*steps, ("pca", PCA()), ("svm", SVC())])
    grid = {"svm__C": [0.1, 1.0, 10.0], "pca__n_components": [1, 2, 3, 4]}
    search = GridSearchCV(pipeline, grid, cv=5).fit(images, labels)
    assert len(search.cv_results_["params"]) == 12
    assert count == [1] * len(images)


def test_copies_in_one_call_are_computed_once(count):
    extractor = FeatureExtractor(backbone(), batch_size=1)
    made = extractor.fit_transform(IMAGES[[2, 0, 2, 2]])
    assert count == [1, 1]
    np.testing.assert_array_equal(made[0], made[3])
    assert not np.allclose(made[0], made[1])


def test_nothing_is_kept_when_told_so(count):
    extractor = FeatureExtractor(backbone(), batch_size=1, cache="off").fit(IMAGES)
    extractor.transform(IMAGES)
    extractor.transform(IMAGES)
    assert len(count) == 2 * len(IMAGES)


def test_scaling_and_pca_are_fitted_on_the_training_rows_of_each_fold_only():
    images, labels = coloured(6)
    extractor = FeatureExtractor(backbone())
    pipeline = Pipeline([("features", extractor), ("pca", PCA(2)), ("svm", SVC())])
    folds = StratifiedKFold(3)
    done = cross_validate(pipeline, images, labels, cv=folds, return_estimator=True)
    features = extractor.fit_transform(images)
    for (train, _), fitted in zip(
        folds.split(images, labels), done["estimator"], strict=True
    ):
        mean = features[train].mean(axis=0)
        np.testing.assert_allclose(fitted["pca"].mean_, mean, atol=1e-5)


def test_features_of_a_network_trained_since_are_computed_anew():
    network = backbone()
    extractor = FeatureExtractor(network).fit(IMAGES)
    before = extractor.transform(IMAGES)
    train_a_little(network)
    after = extractor.transform(IMAGES)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(
        after, maps(network, IMAGES).mean(axis=(1, 2)), atol=1e-5
    )


def test_a_file_overwritten_within_its_time_and_size_is_read_anew(tmp_path):
    path, extractor = tmp_path / "image.bmp", FeatureExtractor(backbone())
    Image.fromarray(IMAGES[0]).save(path)
    state = path.stat()
    before = extractor.fit_transform([path])
    Image.fromarray(IMAGES[1]).save(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    np.testing.assert_allclose(
        extractor.transform([path]), extractor.transform(IMAGES[1:2]), atol=1e-6
    )
    assert not np.allclose(extractor.transform([path]), before)


def test_equal_bytes_in_another_shape_are_another_image():
    network, image = backbone(), IMAGES[:1]
    extractor = FeatureExtractor(network).fit(image)
    extractor.transform(image)
    wide = image.reshape(1, 8, 32, 3)
    plain = FeatureExtractor(network, cache="off").fit(image)
    np.testing.assert_allclose(
        extractor.transform(wide), plain.transform(wide), atol=1e-6
    )


def test_another_way_to_resize_is_another_image():
    images = pixels(3, 24)[:, :12]
    extractor = FeatureExtractor(backbone()).fit(images)
    stretched = extractor.transform(images)
    padded = clone(extractor).set_params(resize="pad").fit_transform(images)
    assert not np.allclose(stretched, padded)


def test_a_network_with_code_of_ones_own_is_not_cached_but_runs(count):
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs * 2.0

        def compute_output_shape(self, input_shape):
            return input_shape

    inner = backbone()
    network = keras.Model(inner.input, Own()(inner.output))
    extractor = FeatureExtractor(network, batch_size=1).fit(IMAGES)
    expected = 2 * maps(inner, IMAGES).mean(axis=(1, 2))
    for _ in range(2):
        np.testing.assert_allclose(extractor.transform(IMAGES), expected, atol=1e-5)
    assert len(count) == 2 * len(IMAGES)
    with pytest.raises(TypeError, match="code"):
        extractor.set_params(cache="memory").transform(IMAGES)


def test_the_store_never_holds_more_than_its_limit_and_keeps_what_came_first():
    store, row = FeatureCache(memory_limit=3 * 8), np.ones(2, "float32")
    store.keep("old", {"a": row, "b": row})
    store.keep("new", {str(i): row for i in range(5)})
    assert not store.space("old")
    assert list(store.space("new")) == ["0", "1", "2"]
    assert store.held == 24


def test_a_set_too_large_for_the_store_comes_out_right():
    extractor = FeatureExtractor(backbone()).fit(IMAGES)
    vars(extractor)["_shared"].store.memory_limit = 2 * 16
    for _ in range(2):
        np.testing.assert_allclose(
            extractor.transform(IMAGES),
            maps(extractor.backbone, IMAGES).mean(axis=(1, 2)),
            atol=1e-5,
        )


def test_features_on_disk_serve_another_extractor(count, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path / "cache"))
    network = backbone()
    options = {"batch_size": 1, "cache": "disk"}
    first = FeatureExtractor(network, **options).fit_transform(IMAGES)
    again = FeatureExtractor(network, **options).fit_transform(IMAGES)
    assert len(count) == len(IMAGES)
    np.testing.assert_array_equal(first, again)
    turned = FeatureExtractor(network, **options).fit_transform(IMAGES[::-1])
    np.testing.assert_allclose(turned, first[::-1], atol=1e-6)
    count.clear()
    train_a_little(network)
    after = FeatureExtractor(network, **options).fit_transform(IMAGES)
    assert len(count) == len(IMAGES)
    assert not np.allclose(after, first)


def test_a_disk_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERASTL_CACHE_LIMIT", "10")
    network = backbone()
    extractor = FeatureExtractor(network, cache="disk").fit(IMAGES)
    with pytest.warns(RuntimeWarning, match="KERASTL_CACHE_LIMIT"):
        made = extractor.transform(IMAGES)
    np.testing.assert_allclose(made, maps(network, IMAGES).mean(axis=(1, 2)), atol=1e-5)


# To files and to other processes.


def test_a_saved_extractor_comes_back_fitted_with_its_names(tmp_path):
    extractor = FeatureExtractor(
        backbone(), at=("relu2", "relu3"), pooling="spp", resize="crop", batch_size=5
    ).fit(IMAGES)
    extractor.save(tmp_path / "features.keras")
    read = FeatureExtractor.load(tmp_path / "features.keras")
    images = pixels(3, 24)[:, :20]
    np.testing.assert_array_equal(read.transform(images), extractor.transform(images))
    assert (
        read.get_feature_names_out().tolist()
        == extractor.get_feature_names_out().tolist()
    )
    assert (read.resize, read.batch_size, read.pooling) == ("crop", 5, "spp")
    np.testing.assert_array_equal(
        clone(read).fit_transform(images), extractor.transform(images)
    )


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "features.keras"
    extractor = FeatureExtractor(backbone()).fit(IMAGES)
    extractor.save(path)
    before = path.read_bytes()

    def fail(self, file):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(OSError, match="No space"):
        extractor.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["features.keras"]


def test_only_a_keras_file_in_a_folder_is_written(tmp_path):
    extractor = FeatureExtractor(backbone()).fit(IMAGES)
    with pytest.raises(ValueError, match=r"ending in \.keras"):
        extractor.save(tmp_path / "features.h5")
    with pytest.raises(FileNotFoundError, match="Make the folder"):
        extractor.save(tmp_path / "absent" / "features.keras")
    with pytest.raises(NotFittedError):
        clone(extractor).save(tmp_path / "features.keras")


def test_only_what_was_saved_is_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"FeatureExtractor\.save"):
        FeatureExtractor.load(tmp_path / "absent.keras")
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(ValueError, match="not whole"):
        FeatureExtractor.load(tmp_path / "text.keras")
    small_network().save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="another model"):
        FeatureExtractor.load(tmp_path / "other.keras")


@pytest.mark.parametrize("fitted", [True, False])
def test_copies_by_pickle_compute_the_same_and_share_one_network(fitted):
    extractor = FeatureExtractor(backbone(), at="relu2")
    expected = extractor.fit_transform(IMAGES)
    sent = pickle.dumps(extractor if fitted else clone(extractor))
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.__sklearn_is_fitted__() == fitted
    for copy in (first, second):
        made = copy.transform(IMAGES) if fitted else copy.fit_transform(IMAGES)
        np.testing.assert_array_equal(made, expected)
    assert first.network_ is second.network_
    assert first.network_ is not extractor.network_


def test_a_named_network_trained_since_travels_with_its_weights():
    images = pixels(2, 32)
    extractor = FeatureExtractor("MobileNet", alpha=0.25, image_size=32).fit(images)
    layer = extractor.network_.get_layer("conv_pw_13")
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    expected = extractor.transform(images)
    copy = pickle.loads(pickle.dumps(clone(extractor)))
    np.testing.assert_array_equal(copy.fit_transform(images), expected)


def test_a_copy_by_pickle_that_was_trained_is_not_given_out_again():
    extractor = FeatureExtractor(backbone()).fit(IMAGES)
    expected, sent = extractor.transform(IMAGES), pickle.dumps(extractor)
    train_a_little(pickle.loads(sent).backbone)
    np.testing.assert_array_equal(pickle.loads(sent).transform(IMAGES), expected)


@pytest.mark.slow
def test_a_grid_search_in_parallel_finds_the_same():
    images, labels = coloured(6)
    steps = [("features", FeatureExtractor(backbone())), ("svm", SVC())]
    grid = {"svm__C": [0.01, 1.0, 100.0]}
    alone, both = (
        GridSearchCV(Pipeline(steps), grid, cv=3, n_jobs=jobs).fit(images, labels)
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], both.cv_results_["mean_test_score"]
    )
