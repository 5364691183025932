"""The order of an epoch: everything once, and each version before any again."""

import gc
import weakref

import numpy as np
import pytest

from kerastl.data.batches import epoch_order, epoch_views
from kerastl.data.batches_tensorflow import in_batches
from kerastl.data.sources import ArraySource


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
        return {"row": np.arange(10) + 100 * asked[-1]}

    data = in_batches(epoch, {"row": ((10,), "int64")}, 10, 4, drop)
    first, second = ([batch["row"].numpy() for batch in data] for _ in range(2))
    assert [len(batch) for batch in first] == sizes
    assert len(data) == len(sizes)
    np.testing.assert_array_equal(np.concatenate(second), 100 + np.arange(sum(sizes)))
    assert asked == [0, 1]


class Reader:
    """Rows that are not in memory."""

    def __init__(self, rows):
        self.shape, self.dtype, self.rows = rows.shape, rows.dtype, rows.__getitem__


def test_rows_come_alike_from_memory_and_from_a_reader():
    rows = np.random.default_rng(0).integers(0, 256, (18, 2, 3), "uint8")
    options = {"shuffle": True, "seed": 1}
    passes = []
    for inputs in (rows, Reader(rows)):
        data = ArraySource(inputs, np.arange(9), views=2).dataset(4, **options)
        passes.append([(x.numpy(), y.numpy()) for _ in range(2) for x, y in data])
    for (x, y), (other, same) in zip(*passes, strict=True):
        np.testing.assert_array_equal(x, other)
        np.testing.assert_array_equal(y, same)
    # The first epoch has the first view, the second the second.
    for place, (x, y) in enumerate(passes[0]):
        np.testing.assert_array_equal(x, rows[y + 9 * (place > 2)])


def test_a_readers_shape_is_known_beforehand():
    source = ArraySource(Reader(np.zeros((9, 2, 3), "uint8")), np.arange(9))
    data = source.dataset(3, drop_remainder=True)
    assert data.element_spec[0].shape.as_list() == [3, 2, 3]


def test_what_a_dataset_calls_lives_as_long_as_what_is_made_of_it():
    inputs = np.arange(12, dtype="float32").reshape(6, 2)
    source = ArraySource(Reader(inputs), np.arange(6))
    kept = weakref.ref(source)
    batches = iter(source.dataset(4).map(lambda x, y: (2 * x, y)))
    del source
    gc.collect()
    assert [x.numpy().tolist() for x, _ in batches] == [
        (2 * inputs[:4]).tolist(),
        (2 * inputs[4:]).tolist(),
    ]
    del batches
    gc.collect()
    assert kept() is None
