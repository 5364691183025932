"""Named recipes: the right phases for the model, and settings that reach them."""

import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier

import kerastl
from kerastl.models.freezing import model_blocks
from kerastl.training.recipes import RECIPES, fine_tune, recipe_phases

HEAD = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=1e-3)


def random_classifier():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    return kerastl.build_classifier(backbone, CLASSES)


@pytest.fixture(scope="module")
def model():
    return small_classifier()


def parts(model, recipe):
    return [phase.trainable for phase in recipe_phases(model, recipe)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 128}, True),
        ({"batch_size": 8}, True),
        ({"batch_size": 64}, False),
        ({"batch_size": 128, "learning_rate": 1e-3}, False),
        ({"batch_size": 128, "recipe": lambda model: [HEAD]}, False),
    ],
)
def test_rates_that_stay_at_another_batch_size_are_said(model, options, said, recwarn):
    options = {"recipe": "linear_probe", "cache": "none", **options}
    # Refused before anything trains.
    with pytest.raises(ValueError, match="`cache` must be"):
        fine_tune(model, coloured(2), **options)
    found = [w for w in recwarn if f"batch_size={options['batch_size']}" in str(w)]
    assert bool(found) == said


def test_the_recipes_are_those_of_the_documentation():
    named = "linear_probe two_phase lp_ft gradual full scratch"
    assert " ".join(RECIPES) == named


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ("linear_probe", ["head"]),
        ("two_phase", ["head", 1]),
        ("lp_ft", ["head", "all"]),
        ("gradual", ["head", 1, 2, "all"]),
        ("full", ["all"]),
    ],
)
def test_what_trains_in_each_phase(model, recipe, wanted):
    # The model has three blocks: half of them is one.
    assert parts(model, recipe) == wanted


def test_parts_grow_with_the_backbone():
    model = random_classifier()
    assert len(model_blocks(model)) == 14
    assert parts(model, "two_phase") == ["head", 7]
    # Five steps at most: three blocks at a time, or two.
    assert parts(model, "gradual") == ["head", 3, 6, 9, 12, "all"]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "scratch"])
def test_loaded_statistics_never_train(model, recipe):
    modes = {phase.batch_norm for phase in recipe_phases(model, recipe)}
    assert modes <= {"auto", "frozen", "affine"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_statistics_of_random_weights_train(recipe):
    phases = recipe_phases(random_classifier(), recipe)
    assert {phase.batch_norm for phase in phases} == {"train"}


def test_scratch_is_for_random_weights(model):
    with pytest.raises(ValueError, match=r"weights=None, or take recipe='full'"):
        recipe_phases(model, "scratch")


def test_one_number_of_epochs_is_for_every_phase(model):
    assert {p.epochs for p in recipe_phases(model, "gradual", epochs=3)} == {3}


def test_epochs_may_be_given_phase_by_phase(model):
    phases = recipe_phases(model, "lp_ft", epochs=[5, 1])
    assert [phase.epochs for phase in phases] == [5, 1]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "scratch"])
def test_warmup_fits_into_a_short_phase(model, recipe):
    for phase in recipe_phases(model, recipe, epochs=1):
        assert phase.warmup <= 0.5


@pytest.mark.parametrize(
    ("epochs", "error", "sentence"),
    [
        ([1, 2, 3], ValueError, "`epochs`"),
        ([1], ValueError, "`epochs`"),
        (0, ValueError, "`epochs` must be at least 1"),
        ([2, 0], ValueError, "`epochs` must be at least 1"),
        (1.5, TypeError, "`epochs` must be an integer"),
    ],
)
def test_epochs_that_do_not_fit_are_refused(model, epochs, error, sentence):
    with pytest.raises(error, match=sentence):
        recipe_phases(model, "lp_ft", epochs=epochs)


@pytest.mark.parametrize(
    ("steps", "epochs"),
    # The recipe's own, 600 steps, and never more than 24 epochs.
    [(3125, 8), (75, 8), (60, 10), (26, 24), (25, 24), (10, 24), (1, 24)],
)
def test_few_images_are_passed_more_often(model, steps, epochs):
    head, fine = recipe_phases(model, "lp_ft", steps_per_epoch=steps)
    assert (head.epochs, fine.epochs) == (20, epochs)


def test_epochs_that_are_given_stay_as_they_are(model):
    phases = recipe_phases(model, "lp_ft", epochs=2, steps_per_epoch=1)
    assert [phase.epochs for phase in phases] == [2, 2]


def test_the_rate_is_the_last_phases(model):
    plain = recipe_phases(model, "lp_ft")
    changed = recipe_phases(model, "lp_ft", learning_rate=0.5)
    assert changed[-1].learning_rate == 0.5
    assert changed[0] == plain[0]


def test_every_phase_that_opens_the_backbone_takes_the_rate(model):
    head, *others = recipe_phases(model, "gradual", learning_rate=1e-5)
    assert head == recipe_phases(model, "gradual")[0]
    assert {phase.learning_rate for phase in others} == {1e-5}


def test_a_probe_takes_the_rate(model):
    (head,) = recipe_phases(model, "linear_probe", learning_rate=0.5)
    assert head.learning_rate == 0.5


@pytest.mark.parametrize(
    ("epochs", "warmup"), [(1, 0.5), (2, 1), (4, 1), (8, 2), (24, 6)]
)
def test_the_rate_climbs_for_a_quarter_of_the_phase(model, epochs, warmup):
    _, fine = recipe_phases(model, "lp_ft", epochs=epochs)
    assert fine.warmup == warmup


def test_more_epochs_have_a_longer_climb(model):
    head, fine = recipe_phases(model, "lp_ft", steps_per_epoch=3)
    assert (head.warmup, fine.warmup) == (0, 6)


def test_the_rate_must_be_above_zero(model):
    with pytest.raises(ValueError, match="`learning_rate` must be above 0"):
        recipe_phases(model, "full", learning_rate=0)


def test_an_unknown_recipe_is_refused(model):
    with pytest.raises(ValueError, match="Did you mean 'gradual'"):
        recipe_phases(model, "gradually")


def test_a_recipe_may_be_a_function_of_the_model(model):
    probe = kerastl.Phase("probe", trainable="head", epochs=3, learning_rate=0.1)
    top = kerastl.Phase("top", trainable=1, epochs=2, learning_rate=0.01, warmup=1)

    def probe_then_top(given):
        assert given is model
        return [probe, top]

    assert recipe_phases(model, probe_then_top) == (probe, top)
    # How long it takes is said in it, however few the images.
    assert recipe_phases(model, probe_then_top, steps_per_epoch=1) == (probe, top)
    changed = recipe_phases(
        model,
        probe_then_top,
        epochs=(1, 4),
        learning_rate=0.5,
        phase_settings={"ema": 0.9},
    )
    told = [(p.epochs, p.learning_rate, p.ema) for p in changed]
    assert told == [(1, 0.1, None), (4, 0.5, 0.9)]


def test_fine_tune_takes_a_function():
    def probe(model):
        return [kerastl.Phase("mine", trainable=0, epochs=1, learning_rate=0.1)]

    history = fine_tune(small_classifier(), coloured(2), recipe=probe, seed=0)
    assert [phase.name for phase in history.phases] == ["mine"]


def test_phases_have_names_of_their_own(model):
    for recipe in RECIPES[:-1]:
        names = [phase.name for phase in recipe_phases(model, recipe)]
        assert len(set(names)) == len(names)


def test_fine_tune_runs_the_recipe_with_what_it_is_given():
    images, labels = coloured(4)
    model = small_classifier()
    history = fine_tune(
        model,
        (images, labels),
        (images, labels),
        recipe="lp_ft",
        epochs=(3, 1),
        learning_rate=1e-5,
        seed=0,
    )
    assert [(p.name, p.stop - p.start) for p in history.phases] == [
        ("head", 3),
        ("all", 1),
    ]
    assert max(history.history["learning_rate"][3:]) <= 1e-5
    right = kerastl.predict(model, images).indices == labels
    assert np.mean(right) == pytest.approx(history.best.value)
