"""Classical classifiers on features, ready to be fitted."""

from typing import Any

from kerastl._checks import check_choice, check_integer, check_number, fail

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
