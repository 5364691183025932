import numpy as np
import pytest

from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.score_plots import pareto_front, plot_pareto


def test_the_front_is_what_a_search_over_all_pairs_finds():
    generator = np.random.default_rng(0)
    # Coarse numbers, so that there are ties in either.
    seconds, accuracies = generator.integers(1, 6, (2, 40)) / 10
    expected = []
    for i in range(40):
        beaten = False
        for j in range(40):
            quick, good = seconds[j] <= seconds[i], accuracies[j] >= accuracies[i]
            strict = seconds[j] < seconds[i] or accuracies[j] > accuracies[i]
            beaten = beaten or (quick and good and strict)
        expected.append(not beaten)
    np.testing.assert_array_equal(pareto_front(seconds, accuracies), expected)


def test_equal_points_are_both_on_the_front():
    assert pareto_front([1.0, 1.0], [0.5, 0.5]).tolist() == [True, True]


def drawn(**options):
    return plot_pareto(
        ["slow", "quick", "poor"], [0.02, 0.002, 0.01], [0.9, 0.8, 0.7], **options
    )


def test_points_stand_at_their_milliseconds_and_accuracies():
    panel = drawn(errors=[0.01, 0.02, 0.03]).axes[0]
    step, front, beaten = panel.lines[0], panel.containers[0], panel.containers[1]
    np.testing.assert_allclose(front.lines[0].get_xdata(), [20, 2])
    np.testing.assert_allclose(front.lines[0].get_ydata(), [0.9, 0.8])
    np.testing.assert_allclose(beaten.lines[0].get_xydata(), [[10, 0.7]])
    # The front is walked from the quickest.
    np.testing.assert_allclose(step.get_xydata(), [[2, 0.8], [20, 0.9]])
    assert panel.get_xscale() == "log"


def test_bars_are_the_standard_errors():
    panel = drawn(errors=[0.01, 0.02, 0.03]).axes[0]
    (segments,) = panel.containers[0].lines[2]
    heights = [segment[1, 1] - segment[0, 1] for segment in segments.get_segments()]
    np.testing.assert_allclose(heights, [0.02, 0.04])


def test_points_carry_the_numbers_of_the_names_in_the_key():
    panel = drawn().axes[0]
    places = {text.get_text(): text.xy for text in panel.texts}
    assert places["1"] == (20.0, 0.9)
    assert places["3"] == (10.0, 0.7)
    assert panel.get_xlabel().splitlines()[1:] == ["1  slow", "2  quick", "3  poor"]


def test_the_description_names_the_front_in_its_order():
    text = alt_text(drawn())
    assert text.startswith("Accuracy against time for 3 networks.")
    assert "quick 0.800 at 2 ms; slow 0.900 at 20 ms." in text
    assert "poor" not in text


def test_it_draws_on_axes_at_hand():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert drawn(axes=axes) is axes.figure


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], [], []), "at least one"),
        ((["a"], [[1.0]], [[1.0]]), r"shape \(n,\)"),
        ((["a"], [1.0], [0.5, 0.6]), "as `seconds`"),
        ((["a", "b"], [1.0], [0.5]), "one for each point"),
        ((["a"], [0.0], [0.5]), "above 0"),
        ((["a"], [float("inf")], [0.5]), "finite"),
        ((["a"], [1.0], [float("nan")]), "`accuracies` must be finite"),
    ],
)
def test_points_that_cannot_be_drawn_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        plot_pareto(*arguments)


@pytest.mark.parametrize("errors", [[-0.1], [0.1, 0.2], [float("nan")]])
def test_errors_that_are_none_are_named(errors):
    with pytest.raises(ValueError, match="`errors` must be 1 numbers of at least 0"):
        plot_pareto(["a"], [1.0], [0.5], errors=errors)


def test_names_in_the_list_have_more_room_than_tick_labels():
    name = "MobileNetV3Large, 224 pixels, minimalistic"
    figure = plot_pareto([name], [0.001], [0.7])
    assert figure.axes[0].get_xlabel().endswith(f"1  {name}")
