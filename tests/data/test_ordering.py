"""The order of an epoch: everything once, and each version before any again."""

import numpy as np
import pytest
import tensorflow as tf

from kerastl.data.batches import epoch_order, epoch_views, in_batches, row_getter


def test_an_order_holds_everything_once():
    assert sorted(epoch_order(20, 3, 1)) == list(range(20))


def test_the_first_epochs_have_the_version_of_their_number():
    for epoch in range(4):
        assert (epoch_views(10, 4, 0, epoch) == epoch).all()


def test_each_cycle_has_every_version_of_each_row_once():
    for start in (4, 8):
        seen = [epoch_views(50, 4, 0, start + i) for i in range(4)]
        assert (np.sort(seen, axis=0) == np.arange(4)[:, None]).all()


def test_later_rows_have_orders_of_their_own():
    assert len(set(epoch_views(50, 4, 0, 5).tolist())) == 4


def test_versions_follow_from_the_seed():
    one, same, other = (epoch_views(50, 4, seed, 6) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_one_version_is_always_the_same():
    assert (epoch_views(5, 1, 0, 7) == 0).all()


@pytest.mark.parametrize(("drop", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_an_epoch_is_asked_for_once_and_given_out_in_batches(drop, sizes):
    asked = []

    def epoch():
        asked.append(len(asked))
        return (np.arange(10) + 100 * asked[-1],)

    data = in_batches(epoch, (tf.TensorSpec((10,), tf.int64),), 10, 4, drop)
    first, second = ([batch.numpy() for (batch,) in data] for _ in range(2))
    assert [len(batch) for batch in first] == sizes
    assert len(data) == len(sizes)
    np.testing.assert_array_equal(np.concatenate(second), 100 + np.arange(sum(sizes)))
    assert asked == [0, 1]


def test_rows_come_alike_from_memory_and_from_a_reader():
    rows = np.random.default_rng(0).integers(0, 256, (9, 2, 3), "uint8")
    chosen = tf.constant([7, 0, 7], tf.int64)
    for known in (rows, None):
        get = row_getter(rows.__getitem__, (2, 3), rows.dtype, known)
        np.testing.assert_array_equal(get(chosen), rows[[7, 0, 7]])


def test_a_readers_shape_is_known_beforehand():
    rows = np.zeros((9, 2, 3), "uint8")
    get = row_getter(rows.__getitem__, (2, 3), rows.dtype)
    data = tf.data.Dataset.range(6).batch(3, drop_remainder=True).map(get)
    assert data.element_spec.shape.as_list() == [3, 2, 3]
