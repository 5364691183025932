"""The planner: exact before narrow, memory before disk, and nothing for nothing."""

import numpy as np
import pytest
from networks import coloured, small_classifier

import kerastl
from kerastl.features import planning
from kerastl.features.planning import (
    Cut,
    available_memory,
    plan_cache,
    training_memory,
)

GB = 10**9
WIDE = Cut("wide", size=600_000, below=10**9)
NARROW = Cut("narrow", size=20_000, below=15 * 10**8)
TOP = Cut("top", size=100_000, below=2 * 10**9)
GIVEN = {"rows": 1000, "epochs": 10, "input_size": 60_000}


def plan(*cuts, memory=4 * GB, disk=40 * GB, **changes):
    return plan_cache(cuts or (TOP,), memory=memory, disk=disk, **GIVEN | changes)


def test_a_plan_says_which_share_of_the_work_it_saves():
    found = plan(TOP, work=4 * TOP.below)
    assert found.saved == 0.25 and str(found).endswith("25.0% of the work saved")
    small = plan(TOP, work=300 * TOP.below)
    # What saves next to nothing is not called cached.
    assert (small.mode, small.reason) == ("off", "it would save 0.3% of the work")
    # Who asks for it gets it, and is told.
    asked = plan(TOP, cache="memory", work=300 * TOP.below)
    assert asked.mode == "memory" and "0.3% of the work saved" in str(asked)


def test_what_fits_is_kept_in_memory_at_full_precision():
    chosen = plan(TOP)
    assert (chosen.mode, chosen.cut, chosen.dtype) == ("memory", "top", "float32")
    assert chosen.nbytes == 1000 * 100_000 * 4


def test_full_precision_on_disk_comes_before_half_in_memory():
    chosen = plan(TOP, memory=GB // 4)
    assert (chosen.mode, chosen.dtype) == ("disk", "float32")


def test_half_precision_is_for_what_fits_nowhere_else():
    chosen = plan(TOP, memory=GB // 4, disk=0)
    assert (chosen.mode, chosen.dtype, chosen.nbytes) == ("memory", "float16", GB // 5)
    assert "half precision" in chosen.reason


def test_activations_that_are_half_already_are_no_loss():
    chosen = plan(Cut("top", 100_000, 10**9, "float16"), memory=GB // 4, disk=0)
    assert (chosen.dtype, chosen.reason) == ("float16", "")


def test_the_last_cut_saves_most_work():
    # Equally wide: only the work differs.
    early, late = Cut("early", 100_000, 10**9), Cut("late", 100_000, 2 * 10**9)
    assert plan(early, late).cut == "late"


def test_of_equal_cuts_the_last_is_taken():
    after = Cut("activation", TOP.size, TOP.below)
    assert plan(TOP, after).cut == "activation"


def test_a_narrow_cut_just_below_a_wide_one_is_quicker():
    # 320 MB more to read in each epoch against a million multiplications.
    just_below = Cut("narrow", 20_000, TOP.below - 10**6)
    assert plan(just_below, TOP).cut == "narrow"


def test_an_earlier_cut_serves_where_the_last_does_not_fit():
    assert plan(NARROW, TOP, memory=GB // 10, disk=0).cut == "narrow"


def test_what_is_computed_more_quickly_than_read_is_not_kept():
    chosen = plan(Cut("first", size=2_000_000, below=10**6))
    assert (chosen.mode, chosen.reason) == (
        "off",
        "computing is quicker than reading it back",
    )


def test_more_epochs_make_a_cut_worth_its_making():
    # Reading costs 0.6 of computing, and so does writing once.
    slow = {"input_size": 1, "disk": 0, "rows": 10}
    cut = Cut("cut", size=19_500_000, below=13 * 10**8)
    assert plan(cut, epochs=2, **slow).mode == "off"
    assert plan(cut, epochs=50, **slow).mode == "memory"


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_where_to_keep_can_be_said(where):
    chosen = plan(Cut("first", size=200_000, below=10**6), cache=where)
    assert chosen.mode == where


def test_off_is_off():
    assert plan(cache="off").mode == "off"


def test_one_pass_is_not_worth_keeping_in_memory():
    assert plan(epochs=1).reason == "each image is passed once"


def test_another_run_may_use_what_is_on_disk():
    assert plan(epochs=1, cache="disk").mode == "disk"


def test_without_a_cut_nothing_is_frozen():
    none = plan_cache((), memory=GB, disk=GB, **GIVEN)
    assert "nothing is frozen" in none.reason


def test_what_fits_nowhere_says_how_large_it_is():
    chosen = plan(TOP, memory=10**6, disk=10**6)
    assert chosen.mode == "off"
    assert "0.2 GB" in chosen.reason


def test_what_fits_nowhere_says_how_much_there_is():
    room = {"memory": 10**5, "disk": 0}
    assert plan(cache="disk", **room).reason == (
        "even half precision takes 0.2 GB, and there may be taken 0.0 MB of disk"
    )
    few = plan(rows=3, memory=10**5, disk=2 * 10**5)
    assert few.reason.endswith(
        " MB, and there may be taken 0.1 MB of memory and 0.2 MB of disk"
    )


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match="`cache` must be one of"):
        plan(cache="gpu")


def test_a_plan_tells_what_where_and_how_much():
    text = str(plan(TOP))
    assert text == "output of 'top' cached in memory, 400.0 MB of float32"
    assert str(plan(cache="off")) == "not cached: switched off"


def test_the_memory_of_this_machine_is_some():
    assert 10**7 < available_memory() < 10**14


def test_a_containers_limit_counts(monkeypatch):
    numbers = {"memory.max": 3000, "memory.current": 1000}
    monkeypatch.setattr(planning, "_number", lambda path: numbers[path.name])
    assert available_memory() == 2000


def test_no_limit_is_written_in_a_word(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert planning._number(tmp_path / "memory.max") is None
    assert planning._number(tmp_path / "missing") is None


def test_the_choice_is_the_quickest_of_all_that_fit():
    """Against trying every cut by hand, in one place and precision."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        sizes = generator.integers(1, 10**6, 6)
        below = np.sort(generator.integers(10**9, 10**11, 6))
        cuts = [Cut(str(i), int(sizes[i]), int(below[i])) for i in range(6)]
        fits = 4 * sizes * 1000 <= GB
        if not fits.any():
            continue
        seconds = (below[-1] - below) / 2e10 + 4 * sizes / 2e9
        best = np.where(fits, seconds, np.inf).argmin()
        assert plan(*cuts, memory=GB, disk=0).cut == str(best)


@pytest.mark.parametrize(
    ("trainable", "maps", "weights"),
    [
        # Per image: conv, norm and ReLU of 4 channels on grids of 8, 4 and 2.
        ("head", 0, 0),
        (1, 3 * 4 * 2**2, 3 * 3 * 4 * 4 + 8),
        (2, 3 * 4 * (2**2 + 4**2), 2 * (3 * 3 * 4 * 4 + 8)),
        ("all", 3 * 4 * (2**2 + 4**2 + 8**2), 2 * (144 + 8) + 108 + 8),
    ],
)
def test_memory_of_a_step_is_what_is_kept_for_the_way_back(trainable, maps, weights):
    model = small_classifier(dropout=0.0)
    kerastl.unfreeze(model, trainable, batch_norm="train")
    # Pooled features, where a map below them trains; three logits, and in float32.
    pooled = 4 if maps else 0
    numbers = 10 * (maps + pooled + 3 + 3)
    assert training_memory(model, 10) == 4 * numbers + 12 * (weights + 15)


def test_more_memory_than_there_is_is_said_before_the_phase(monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda: 10_000)
    monkeypatch.setattr(planning, "device_names", lambda: ["cpu:0"])
    options = {"epochs": 1, "verbose": 0, "batch_size": 12, "cache": "off"}
    with pytest.warns(RuntimeWarning, match="on 12 images at a time needs at least"):
        kerastl.fine_tune(small_classifier(), coloured(), recipe="full", **options)
    monkeypatch.setattr(planning, "device_names", lambda: ["cpu:0", "gpu:0"])
    kerastl.fine_tune(small_classifier(), coloured(), recipe="full", **options)
