"""Classical heads, and linear ones folded into the head of a network."""

import numpy as np
import pytest
from networks import CLASSES, coloured, outputs, small_classifier
from sklearn.datasets import load_iris, make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LogisticRegression,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

import kerastl
from kerastl.features.classical import classical_head, fold_pipeline, set_head
from kerastl.features.extractor import FeatureExtractor

IRIS = load_iris(return_X_y=True)


def two_classes():
    return make_classification(60, 8, random_state=0, shift=3.0, scale=5.0)


# Recipes.


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("svm", LinearSVC),
        ("logistic", LogisticRegression),
        ("forest", RandomForestClassifier),
        ("knn", KNeighborsClassifier),
        ("ridge", RidgeClassifier),
    ],
)
def test_each_kind_is_an_unfitted_pipeline_that_beats_the_largest_class(kind, cls):
    head = classical_head(kind)
    assert list(head.named_steps) == ["normalize", "classifier"]
    assert isinstance(head["classifier"], cls)
    assert not hasattr(head["classifier"], "classes_")
    # A third of the flowers are of each kind, and one kind is easy to tell.
    assert head.fit(*IRIS).score(*IRIS) > 2 / 3


def test_the_steps_are_those_asked_for():
    head = classical_head("svm", pca=3, normalize="l2", kernel="rbf", regularization=4)
    assert isinstance(head["normalize"], Normalizer)
    assert head["pca"].n_components == 3
    assert (head["classifier"].kernel, head["classifier"].C) == ("rbf", 0.25)
    assert list(classical_head(normalize=None).named_steps) == ["classifier"]


def test_a_share_of_the_variance_is_kept():
    fitted = classical_head("ridge", pca=0.9).fit(*IRIS)
    kept = fitted["pca"].explained_variance_ratio_.cumsum()
    assert kept[-1] >= 0.9 > kept[:-1].max(initial=0)


def test_options_reach_the_classifier():
    assert classical_head("ridge", regularization=3.0)["classifier"].alpha == 3.0
    for kind in ("logistic", "svm"):
        assert classical_head(kind, regularization=4.0)["classifier"].C == 0.25
    assert classical_head("knn", neighbours=2)["classifier"].n_neighbors == 2
    forest = classical_head("forest", trees=7, seed=3)["classifier"]
    assert (forest.n_estimators, forest.random_state) == (7, 3)


@pytest.mark.parametrize("kind", ["svm", "forest"])
def test_the_same_seed_gives_the_same_head(kind):
    features, labels = two_classes()
    options = {"trees": 5} if kind == "forest" else {}

    def decisions():
        head = classical_head(kind, pca=2, seed=1, **options).fit(features, labels)
        name = "decision_function" if kind == "svm" else "predict_proba"
        return getattr(head, name)(features)

    np.testing.assert_array_equal(decisions(), decisions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "boosting"}, "`kind` must be one of"),
        ({"normalize": "minmax"}, "`normalize`"),
        ({"pca": 0}, "`pca` must be at least 1"),
        ({"pca": 1.5}, "`pca` must be above 0 and below 1"),
        ({"kernel": "poly"}, "`kernel`"),
        ({"kind": "ridge", "kernel": "rbf"}, "It is an option of 'svm'"),
        ({"kind": "knn", "regularization": 1.0}, "None for 'knn'"),
        ({"kind": "svm", "trees": 10}, "It is an option of 'forest'"),
        ({"regularization": 0.0}, "above 0"),
        ({"kind": "knn", "neighbours": 0}, "at least 1"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        classical_head(**options)


# Folding.

LINEAR = {
    "logistic": LogisticRegression(max_iter=500),
    "ridge": RidgeClassifier(),
    "ridge without intercept": RidgeClassifier(fit_intercept=False),
    "ridge cv": RidgeClassifierCV(),
    "linear svc": LinearSVC(random_state=0, max_iter=20_000),
    "sgd": SGDClassifier(random_state=0),
}
BEFORE = {
    "nothing": [],
    "scaled": [StandardScaler()],
    "scaled without mean": [StandardScaler(with_mean=False)],
    "centred": [StandardScaler(with_std=False)],
    "pca": [StandardScaler(), PCA(3, random_state=0)],
    "whitened": [PCA(3, whiten=True, random_state=0), StandardScaler()],
    "nested": [Pipeline([("a", StandardScaler()), ("b", "passthrough")]), None],
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_folded_steps_give_the_pipelines_decision_values(kind, before, classes):
    features, labels = IRIS if classes == 3 else two_classes()
    pipeline = make_pipeline(*BEFORE[before], LINEAR[kind]).fit(features, labels)
    kernel, bias = fold_pipeline(pipeline)
    expected = pipeline.decision_function(features).reshape(len(features), -1)
    np.testing.assert_allclose(features @ kernel + bias, expected, atol=1e-8)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", LINEAR)
def test_each_linear_classifier_is_folded(kind, classes):
    features, labels = IRIS if classes == 3 else two_classes()
    pipeline = make_pipeline(StandardScaler(), LINEAR[kind]).fit(features, labels)
    kernel, bias = fold_pipeline(pipeline)
    expected = pipeline.decision_function(features).reshape(len(features), -1)
    np.testing.assert_allclose(features @ kernel + bias, expected, atol=1e-8)


def test_a_linear_svc_of_two_classes_is_folded():
    features, labels = two_classes()
    pipeline = make_pipeline(PCA(4), SVC(kernel="linear")).fit(features, labels)
    kernel, bias = fold_pipeline(pipeline)
    expected = pipeline.decision_function(features)
    np.testing.assert_allclose((features @ kernel + bias)[:, 0], expected, atol=1e-8)


def test_a_classifier_alone_is_folded():
    classifier = RidgeClassifier().fit(*IRIS)
    kernel, bias = fold_pipeline(classifier)
    np.testing.assert_array_equal(kernel, classifier.coef_.T)
    np.testing.assert_array_equal(bias, classifier.intercept_)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Normalizer(), RidgeClassifier()], "StandardScaler, PCA and a linear"),
        ([MinMaxScaler(), RidgeClassifier()], "'MinMaxScaler'"),
        ([StandardScaler(), KNeighborsClassifier()], "ends in a linear classifier"),
        ([StandardScaler(), SVC()], "kernel='rbf'"),
        ([StandardScaler(), SVC(kernel="linear")], "Take LinearSVC"),
        ([StandardScaler()], "ends in a linear classifier"),
    ],
)
def test_what_is_not_linear_is_refused(steps, words):
    with pytest.raises(ValueError, match=words):
        fold_pipeline(make_pipeline(*steps).fit(*IRIS))


@pytest.mark.parametrize("fitted", [StandardScaler(), PCA(2), RidgeClassifier()])
def test_an_unfitted_pipeline_is_refused(fitted):
    with pytest.raises(ValueError, match="must be fitted"):
        fold_pipeline(
            make_pipeline(fitted, RidgeClassifier())
            if not isinstance(fitted, RidgeClassifier)
            else fitted
        )


# Into a network.


@pytest.fixture(scope="module")
def data():
    images, labels = coloured(8)
    model = small_classifier()
    extractor = FeatureExtractor(model)
    return images, labels, extractor.fit_transform(images)


@pytest.mark.parametrize("kind", ["svm", "logistic", "ridge"])
def test_the_logits_are_the_decision_values(kind, data):
    images, labels, _ = data
    model = small_classifier()
    extractor = FeatureExtractor(model)
    head = classical_head(kind, pca=3)
    pipeline = Pipeline([("features", extractor), ("head", head)]).fit(images, labels)
    set_head(model, pipeline)
    np.testing.assert_allclose(
        outputs(model, images), pipeline.decision_function(images), atol=1e-4
    )


def test_probabilities_of_logistic_regression_are_the_models():
    images, labels = coloured(8)
    model = small_classifier()
    features = FeatureExtractor(model).fit_transform(images)
    head = classical_head("logistic").fit(features, labels)
    set_head(model, head)
    np.testing.assert_allclose(
        kerastl.predict(model, images).probabilities,
        head.predict_proba(features),
        atol=1e-5,
    )


@pytest.mark.parametrize("names", [("ash", "beech"), ("beech", "ash")])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_two_classes_go_to_the_second_class_by_name(task, names):
    images, labels = coloured(8)
    images, labels = images[labels < 2], labels[labels < 2]
    model = small_classifier(names, task=task)
    features = FeatureExtractor(model).fit_transform(images)
    texts = np.array(names)[labels]
    head = classical_head("logistic").fit(features, texts)
    set_head(model, head)
    column = list(head.classes_).index(names[1])
    np.testing.assert_allclose(
        kerastl.predict(model, images).probabilities[:, 1],
        head.predict_proba(features)[:, column],
        atol=1e-5,
    )


def test_class_names_go_to_their_own_logits():
    images, labels = coloured(8)
    names = ("cedar", "ash", "beech")
    model = small_classifier(names)
    features = FeatureExtractor(model).fit_transform(images)
    head = classical_head("ridge").fit(features, np.array(names)[labels])
    set_head(model, head)
    by_name = dict(zip(head.classes_, head.decision_function(features).T, strict=True))
    expected = np.stack([by_name[name] for name in names], axis=1)
    np.testing.assert_allclose(outputs(model, images), expected, atol=1e-4)


def test_features_pooled_by_maximum_go_to_such_a_head(data):
    images, labels, _ = data
    model = small_classifier(pooling="max")
    extractor = FeatureExtractor(model, pooling="max")
    pipeline = make_pipeline(extractor, RidgeClassifier()).fit(images, labels)
    set_head(model, pipeline)
    np.testing.assert_allclose(
        outputs(model, images), pipeline.decision_function(images), atol=1e-4
    )


def test_only_the_head_changes(data):
    _, labels, features = data
    model = small_classifier()
    before = {w.path: np.array(w) for w in model.weights}
    set_head(model, classical_head("ridge").fit(features, labels))
    moved = {w.path for w in model.weights if not np.array_equal(before[w.path], w)}
    assert moved == {"head_dense/kernel", "head_dense/bias"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": (4,)}, "single dense layer"),
        ({"pooling": "max"}, "pooling='avg'"),
        ({"pooling": "concat"}, "pooling='avg'"),
        ({"task": "multilabel"}, "one class an image"),
        ({"classes": ("ash", "beech")}, "fitted on the classes 0 to 1"),
        ({"classes": ("a", "b", "c", "d")}, "fitted on the classes 0 to 3"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(options, words, data):
    _, labels, features = data
    model = small_classifier(options.pop("classes", CLASSES), **options)
    with pytest.raises(ValueError, match=words):
        set_head(model, classical_head("ridge").fit(features, labels))


def test_another_width_is_refused(data):
    _, labels, features = data
    head = classical_head("ridge").fit(features[:, :3], labels)
    with pytest.raises(ValueError, match="fitted on 4 features"):
        set_head(small_classifier(), head)


def test_labels_of_other_names_are_refused(data):
    _, labels, features = data
    head = classical_head("ridge").fit(features, np.array(["x", "y", "z"])[labels])
    with pytest.raises(ValueError, match="fitted on the classes"):
        set_head(small_classifier(), head)


@pytest.mark.parametrize(
    ("options", "words"), [({"at": "relu2"}, "at=None"), ({"pooling": "spp"}, "'spp'")]
)
def test_features_from_elsewhere_are_refused(options, words, data):
    images, labels, _ = data
    model = small_classifier()
    extractor = FeatureExtractor(model, **options)
    pipeline = make_pipeline(extractor, RidgeClassifier()).fit(images, labels)
    with pytest.raises(ValueError, match=words):
        set_head(model, pipeline)
