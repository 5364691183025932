import numpy as np
import pytest
from sklearn.decomposition import PCA

from kerastl.features.probe import left_vectors, principal_scores


def table(n, d, rank=None):
    generator = np.random.default_rng(n + d)
    if rank is None:
        return generator.normal(size=(n, d))
    return generator.normal(size=(n, rank)) @ generator.normal(size=(rank, d))


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6)])
def test_the_parts_are_those_of_an_svd(shape):
    matrix = table(*shape)
    vectors, squares = left_vectors(matrix)
    wanted, values, _ = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(squares, values**2)
    np.testing.assert_allclose(
        np.abs(vectors.T @ wanted), np.eye(5 + (shape[0] == 6)), atol=1e-9
    )


@pytest.mark.parametrize("shape", [(9, 6), (6, 9)])
def test_directions_without_variance_are_left_out(shape):
    vectors, squares = left_vectors(table(*shape, rank=3))
    assert vectors.shape == (shape[0], 3)
    assert squares.shape == (3,)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
@pytest.mark.parametrize("energy", [0.5, 0.8])
def test_energy_keeps_as_many_components_as_scikit_learn(shape, energy):
    features = table(*shape)
    wanted = PCA(n_components=energy, svd_solver="full").fit_transform(features)
    found = principal_scores(features, energy=energy)
    wanted = wanted / np.sqrt(wanted.var(axis=0).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-9)


def test_all_the_energy_keeps_the_rank():
    assert principal_scores(table(20, 9, rank=4)).shape == (20, 4)


def test_no_more_components_are_kept_than_asked():
    features = table(20, 9)
    np.testing.assert_allclose(
        principal_scores(features, most=2)[:, 0] / principal_scores(features)[:, 0],
        np.sqrt(principal_scores(features, most=1)[0, 0] ** 0 * _share(features)),
    )


def _share(features):
    variances = PCA().fit(features).explained_variance_
    return variances.mean() / variances[:2].mean()
