"""Classical models on features, and folding linear ones into a Keras head."""

from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, check_number, fail
from kerastl.models.record import fold_prior, set_temperature
from kerastl.models.text_layers import TEXT_POOLINGS
from kerastl.tasks.task import BoundModel, bind_known

KINDS = ("svm", "logistic", "forest", "knn", "ridge")
#: Which kinds take which option.
_OPTIONS = {
    "kernel": ("svm",),
    "regularization": ("svm", "logistic", "ridge"),
    "neighbours": ("knn",),
    "trees": ("forest",),
}
#: Penalties for standardised features, which often outnumber the images.
_PENALTIES = {"svm": 1000.0, "logistic": 100.0, "ridge": 1000.0}


def classical_head(
    kind: str = "svm",
    *,
    pca: int | float | None = None,
    normalize: str | None = "standard",
    kernel: str | None = None,
    regularization: float | None = None,
    neighbours: int | None = None,
    trees: int | None = None,
    seed: int = 0,
) -> Any:
    """An unfitted scikit-learn pipeline for features: scaling, PCA, classifier.

    Fit it on training features only; in a cross-validation put it behind the
    `FeatureExtractor`, or give it to `cross_val_score`: never fit the PCA before.
    Linear classifiers nearly always beat a forest on features of a deep network.

    Args:
        kind: `"svm"`, `"logistic"`, `"ridge"` (linear, for `fold_pipeline`),
            `"forest"` or `"knn"`.
        pca: Number of components, at least 1; a float in (0, 1) for the share of the
            variance to keep; None: no PCA.
        normalize: `"standard"` (each column to mean 0 and deviation 1), `"l2"` (each
            row to length 1), or None.
        kernel: For `"svm"`: `"linear"`, which None means, or `"rbf"`.
        regularization: Strength of the penalty, above 0: `alpha` of the ridge, `1 / C`
            of SVM and logistic regression. None: 1000, for logistic 100; but 1 for the
            `"rbf"` kernel and where features are not standardised. Tune it.
        neighbours: For `"knn"`, at least 1. None: 5.
        trees: For `"forest"`, at least 1. None: 300.
        seed: Non-negative integer, for what is random.

    Returns:
        A `sklearn.pipeline.Pipeline` with the steps `normalize`, `pca` (where asked
        for) and `classifier`.

    Raises:
        ValueError: If an option is out of range, or not one of this kind.

    Example:
        >>> list(classical_head("logistic", pca=0.95).named_steps)
        ['normalize', 'pca', 'classifier']
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    check_choice("kind", kind, KINDS)
    if normalize is not None:
        check_choice("normalize", normalize, ("standard", "l2"))
    check_integer("seed", seed, 0)
    given = {"kernel": kernel, "regularization": regularization}
    _check_options(kind, {**given, "neighbours": neighbours, "trees": trees})
    plain = normalize == "standard" and kernel != "rbf"
    penalty = regularization or (_PENALTIES.get(kind, 1.0) if plain else 1.0)
    count = neighbours or trees
    steps: list[tuple[str, Any]] = []
    if normalize is not None:
        scaler = StandardScaler() if normalize == "standard" else Normalizer()
        steps.append(("normalize", scaler))
    if pca is not None:
        _check_pca(pca)
        steps.append(("pca", PCA(pca, random_state=seed)))
    steps.append(("classifier", _classifier(kind, kernel, penalty, count, seed)))
    return Pipeline(steps)


def _check_options(kind: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is not None and kind not in _OPTIONS[name]:
            users = " and ".join(repr(user) for user in _OPTIONS[name])
            fail(name, f"None for {kind!r}", value, f"It is an option of {users}.")
    if options["kernel"] is not None:
        check_choice("kernel", options["kernel"], ("linear", "rbf"))
    if options["regularization"] is not None:
        check_number("regularization", options["regularization"], above=0.0)
    for name in ("neighbours", "trees"):
        if options[name] is not None:
            check_integer(name, options[name], 1)


def _check_pca(pca: Any) -> None:
    if isinstance(pca, float):
        check_number("pca", pca, above=0.0, below=1.0)
    else:
        check_integer("pca", pca, 1)


def _classifier(
    kind: str, kernel: str | None, penalty: float, count: int | None, seed: int
) -> Any:
    """The last step."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC, LinearSVC

    if kind == "svm" and kernel == "rbf":
        return SVC(C=1 / penalty, random_state=seed)
    if kind == "svm":
        # "auto" takes whichever of the two forms is cheaper.
        return LinearSVC(C=1 / penalty, dual="auto", random_state=seed)
    if kind == "logistic":
        return LogisticRegression(C=1 / penalty, max_iter=1000)
    if kind == "ridge":
        return RidgeClassifier(alpha=penalty)
    if kind == "knn":
        return KNeighborsClassifier(count or 5)
    return RandomForestClassifier(count or 300, random_state=seed)


def fold_pipeline(pipeline: Any) -> tuple[np.ndarray, np.ndarray]:
    """A fitted linear pipeline as one dense layer on the raw features.

    `features @ kernel + bias` is the pipeline's `decision_function`, not its
    probabilities: of these only a softmax of logistic regression's are the same.

    Args:
        pipeline: Fitted `Pipeline` of `StandardScaler`, `PCA` (whitened or not), a map
            of `kerastl.adaptation` that moves the target, and a linear classifier of
            scikit-learn, or the classifier alone. `SVC` with a
            linear kernel only for two classes: for more it compares them in pairs.

    Returns:
        Kernel `(d, c)` and bias `(c,)`, float64; `c` is 1 for two classes, and the
        number is then the second's.

    Raises:
        ValueError: If a step is not linear, not known, or not fitted.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from kerastl.features.classical import classical_head
        >>> features, labels = load_iris(return_X_y=True)
        >>> head = classical_head("ridge", pca=2).fit(features, labels)
        >>> kernel, bias = fold_pipeline(head)
        >>> np.allclose(features @ kernel + bias, head.decision_function(features))
        True
    """
    *steps, last = _steps(pipeline)
    coefficients, intercept = _linear_classifier(last)
    # From the end to the start: the weights stay small, whatever the width.
    kernel, bias = coefficients.T, intercept
    for step in reversed(steps):
        matrix, shift = _affine(step)
        bias = bias + shift @ kernel
        kernel = matrix[:, None] * kernel if matrix.ndim == 1 else matrix @ kernel
    return kernel, bias


def _steps(pipeline: Any) -> list[Any]:
    """The steps of a pipeline, and of pipelines inside."""
    from sklearn.pipeline import Pipeline

    if not isinstance(pipeline, Pipeline):
        return [pipeline]
    steps = [step for step in pipeline.named_steps.values() if step is not None]
    return [inner for s in steps if s != "passthrough" for inner in _steps(s)]


def _affine(step: Any) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and shift of a linear step; the diagonal alone where it is one."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    if isinstance(step, StandardScaler):
        _check_fitted(step)
        ones = np.ones(step.n_features_in_)
        scale = ones if step.scale_ is None else 1 / step.scale_
        mean = 0 * ones if step.mean_ is None or not step.with_mean else step.mean_
        return scale, -mean * scale
    if isinstance(step, PCA):
        _check_fitted(step)
        matrix = step.components_.T.astype("float64")
        if step.whiten:
            # scikit-learn's own floor, for directions without any variance.
            floor = np.finfo(step.explained_variance_.dtype).eps
            matrix = matrix / np.maximum(np.sqrt(step.explained_variance_), floor)
        return matrix, -step.mean_ @ matrix
    if hasattr(step, "matrix_") and hasattr(step, "shift_"):
        # A map between domains: see `kerastl.adaptation`.
        if step.direction != "target":
            hint = "The head was fitted on moved features, and images give others."
            expected = "a pipeline whose map has direction='target'"
            fail("pipeline", expected, step.direction, hint)
        return step.matrix_, step.shift_
    hint = "An extractor in front is left out with pipeline[1:]."
    expected = "made of StandardScaler, PCA and a linear classifier"
    return fail("pipeline", expected, type(step).__name__, hint)


def _linear_classifier(classifier: Any) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients `(c, d)` and intercept `(c,)` of a fitted linear classifier."""
    from sklearn import linear_model, svm

    names = ("LogisticRegression", "LogisticRegressionCV", "RidgeClassifier")
    names = (*names, "RidgeClassifierCV", "SGDClassifier")
    kinds = (*(getattr(linear_model, name) for name in names), svm.LinearSVC, svm.SVC)
    if not isinstance(classifier, kinds):
        expected = "a pipeline that ends in a linear classifier"
        fail("pipeline", expected, type(classifier).__name__)
    _check_fitted(classifier)
    if isinstance(classifier, svm.SVC):
        if classifier.kernel != "linear":
            expected = "a pipeline that ends in a linear classifier"
            fail("pipeline", expected, f"SVC(kernel={classifier.kernel!r})")
        if len(classifier.classes_) > 2:
            hint = "Take LinearSVC, which has one row of weights for each class."
            fail("pipeline", "without SVC for three or more classes", "SVC", hint)
    coefficients = np.atleast_2d(classifier.coef_).astype("float64")
    # Without an intercept it is the number 0.
    intercept = np.broadcast_to(classifier.intercept_, len(coefficients))
    return coefficients, intercept.astype("float64")


def _check_fitted(step: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(step)
    except NotFittedError:
        fail("pipeline", "fitted", type(step).__name__, "Call pipeline.fit first.")


def set_head(model: keras.Model, pipeline: Any, *, pooling: str = "avg") -> None:
    """Write a fitted linear pipeline into a classifier's head.

    The model's logits are then the pipeline's decision values on the features that the
    model pools, to rounding. It is changed in place and need not be compiled again.

    Args:
        model: Classifier from `build_classifier` with no hidden layer in its head.
        pipeline: As for `fold_pipeline`, fitted on features of the model's backbone,
            with the class names or their numbers 0 to C - 1 as labels. A
            `FeatureExtractor` in front of it is left out.
        pooling: How those features were pooled: `"avg"` or `"max"` of images; of texts
            `"mean"` (or `"avg"`, which is the same there), `"cls"` or `"last"`.

    Raises:
        ValueError: If head, width, classes or pooling do not fit.

    Example:
        >>> import kerastl
        >>> from kerastl.features.classical import classical_head
        >>> backbone = kerastl.build_backbone(
        ...     "MobileNet", alpha=0.25, image_size=32, weights="tiny"
        ... )
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> features = np.linspace(0, 1, 4 * 256).reshape(4, 256)
        >>> head = classical_head("ridge").fit(features, [0, 0, 1, 1])
        >>> set_head(model, head)
    """
    bound = bind_known(model)
    check_choice("pooling", pooling, ("avg", "max", *TEXT_POOLINGS))
    steps = _steps(pipeline)
    if hasattr(steps[0], "pooling"):
        pooling = _pooling_in_front(steps.pop(0), pooling)
    _check_head(bound, pooling)
    from sklearn.pipeline import make_pipeline

    kernel, bias = fold_pipeline(make_pipeline(*steps))
    kernel, bias = _in_order(kernel, bias, list(steps[-1].classes_), bound)
    dense = model.get_layer("head_dense")
    if tuple(dense.kernel.shape) != kernel.shape:
        expected = f"fitted on {dense.kernel.shape[0]} features, as the model pools"
        fail("pipeline", expected, kernel.shape[0])
    # A prior and a temperature belong to the head that was.
    if bound.record.prior:
        fold_prior(model, None)
    dense.set_weights([kernel, bias])
    set_temperature(model, 1.0)


def _pooling_in_front(extractor: Any, pooling: str) -> str:
    """How the extractor in front of a pipeline pools."""
    if getattr(extractor, "at", None) is not None:
        hint = "The head stands on the top of the backbone."
        fail("pipeline", "on features of the top, at=None", extractor.at, hint)
    return extractor.pooling


def _check_head(bound: BoundModel, pooling: str) -> None:
    """Raise unless the head is one dense layer on features pooled like that."""
    if not bound.task.single_class:
        expected = "a classifier of one class an image"
        fail("model", expected, bound.task.name, "It has no pipeline of one decision.")
    hidden = [name for name in bound.head_layers if "hidden" in name]
    if hidden:
        hint = "Build it with hidden=()."
        fail("model", "a classifier with a single dense layer", hidden, hint)
    pools = [name for name in bound.head_layers if name.startswith("head_pool")]
    if pooling == "avg" and pools == ["head_pool_mean"]:
        # What images call an average is one over real tokens of texts.
        return
    if pools and pools != [f"head_pool_{pooling}"]:
        expected = f"a classifier with pooling={pooling!r}, as the features"
        fail("model", expected, pools, "Build it with the same pooling.")


def _in_order(
    kernel: np.ndarray, bias: np.ndarray, classes: list[Any], bound: BoundModel
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias in the model's order of classes, with its number of logits."""
    names = list(bound.record.class_names)
    if sorted(map(str, classes)) == sorted(names) and isinstance(classes[0], str):
        order = [names.index(name) for name in classes]
    elif not isinstance(classes[0], str) and classes == list(range(len(names))):
        order = classes
    else:
        expected = f"fitted on the classes 0 to {len(names) - 1} or {names[:12]}"
        fail("pipeline", expected, classes[:12])
    if kernel.shape[1] > 1:
        places = np.argsort(order)
        return kernel[:, places], bias[places]
    # One decision, for the class that comes second in the pipeline.
    sign = 1.0 if order == [0, 1] else -1.0
    if bound.task.units == 1:
        return sign * kernel, sign * bias
    # A softmax of two logits sees their difference.
    halves = np.array([[-sign / 2, sign / 2]])
    return kernel * halves, bias * halves[0]
