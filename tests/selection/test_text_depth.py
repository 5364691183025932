"""A probe at several depths of a text network, from arrays of ids."""

import numpy as np
import pytest
from texts import arrays, hub_backbone, token_rows

from kerastl.features.network import feature_network, open_backbone
from kerastl.models.blocks import truncate
from kerastl.selection import depth_profile


@pytest.fixture(scope="module")
def network():
    return open_backbone(hub_backbone())


def labelled(network, count=30):
    rows = token_rows(network, np.arange(count) % 9 + 2, seed=1)
    labels = np.arange(count) % 2
    # The label is the second token.
    rows["token_ids"][:, 1] = 5 + labels
    return rows, labels


def test_a_cut_gives_the_mean_of_its_real_tokens(network):
    rows, _ = labelled(network)
    cuts = ("embeddings_dropout", "transformer_layer_1")
    found = arrays(feature_network(network, at=cuts)(rows))[0]
    real = rows["padding_mask"].astype(bool)
    for number, cut in enumerate(cuts):
        sequence = arrays(truncate(network, cut)(rows))[0]
        means = [v[m].mean(0) for v, m in zip(sequence, real, strict=True)]
        here = found[:, 16 * number : 16 * (number + 1)]
        np.testing.assert_allclose(here, means, atol=1e-5)


def test_the_profile_runs_from_the_embeddings_to_the_top(network):
    data = labelled(network)
    profile = depth_profile(network, data, cuts=4, folds=3)
    assert profile.cuts[-1] == "transformer_layer_2" and len(profile.cuts) == 4
    assert profile.computation[-1] == 1 and sorted(profile.computation)[0] >= 0
    assert profile.widths == (16,) * 4


def test_a_key_too_many_and_a_class_too_small_are_refused(network):
    rows, labels = labelled(network)
    with pytest.raises(ValueError, match="It has no 'other'"):
        depth_profile(network, ({**rows, "other": rows["token_ids"]}, labels))
    labels[:] = 0
    labels[:2] = 1
    with pytest.raises(ValueError, match="at least 5 images of each class"):
        depth_profile(network, (rows, labels))
