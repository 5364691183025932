from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.plots import plot_history

Best = namedtuple("Best", "phase epoch monitor value")


def run(epochs=6, phases=(), best=None):
    falling = np.linspace(2.0, 1.0, epochs)
    history = {
        "accuracy": (1 - falling / 3).tolist(),
        "loss": falling.tolist(),
        "val_accuracy": (1 - falling / 2).tolist(),
        "val_loss": (falling + 0.1).tolist(),
        "learning_rate": [0.1] * epochs,
    }
    phases = tuple(SimpleNamespace(name=n, start=a, stop=b) for n, a, b in phases)
    return SimpleNamespace(history=history, phases=phases, best=best)


def curves(axes):
    return {line.get_label(): line for line in axes.lines}


def test_loss_and_accuracy_have_a_panel_each():
    assert [a.get_ylabel() for a in plot_history(run()).axes] == ["loss", "accuracy"]


def test_what_told_the_best_epoch_has_a_panel_though_only_validation_has_it():
    history = run(best=Best("all", 4, "val_ap50", 0.8))
    history.history["val_ap50"] = [0.0, 0.1, 0.2, 0.4, 0.8, 0.7]
    panels = plot_history(history).axes
    assert [a.get_ylabel() for a in panels] == ["loss", "ap50"]
    assert curves(panels[1])["validation"].get_ydata().tolist()[4] == 0.8
    by_loss = run(best=Best("all", 4, "val_loss", 0.8))
    assert [a.get_ylabel() for a in plot_history(by_loss).axes] == ["loss"]


def test_curves_show_the_values_at_epochs_from_one():
    history = run()
    axes = plot_history(history).axes[1]
    for label, name in (("training", "accuracy"), ("validation", "val_accuracy")):
        line = curves(axes)[label]
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 7))
        np.testing.assert_allclose(line.get_ydata(), history.history[name])


def test_training_and_validation_differ_in_more_than_colour():
    lines = curves(plot_history(run()).axes[0])
    styles = [
        (lines[k].get_linestyle(), lines[k].get_marker())
        for k in ("training", "validation")
    ]
    assert styles[0][0] != styles[1][0]
    assert styles[0][1] != styles[1][1]


def test_a_dict_gives_the_same_curves_as_a_history():
    history = run()
    assert alt_text(plot_history(history.history)) == alt_text(plot_history(history))


def test_a_single_epoch_has_a_marker_inside_the_panel():
    axes = plot_history(run(1)).axes[0]
    assert curves(axes)["training"].get_marker() == "o"
    assert axes.get_xlim() == (0.5, 1.5)


def test_phases_are_parted_by_lines_and_named():
    phases = [("head", 0, 2), ("all", 2, 6)]
    axes = plot_history(run(6, phases)).axes[0]
    assert [
        line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"
    ] == [2.5]
    assert [(t.get_text(), t.xy[0]) for t in axes.texts] == [
        ("head", 1.5),
        ("all", 4.5),
    ]


def test_phases_too_narrow_for_their_names_are_numbered():
    phases = [("a very long name of a phase", 0, 1), ("all", 1, 12)]
    axes = plot_history(run(12, phases)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    label = " ".join(axes.get_xlabel().split())
    assert label == "epoch 1 a very long name of a phase, 2 all"


def test_the_recorded_best_epoch_is_marked_in_each_panel():
    history = run(6, best=Best("all", 3, "val_accuracy", 0.5))
    for axes in plot_history(history).axes:
        assert curves(axes)["best: epoch 4"].get_xdata()[0] == 4


def test_a_run_that_never_beat_its_start_says_so():
    figure = plot_history(run(2, best=Best("start", -1, "val_accuracy", 0.7)))
    assert "Best: the start (val_accuracy 0.700)." in alt_text(figure)
    assert len(curves(figure.axes[0])["best: the start"].get_xdata()) == 0


def test_without_a_record_the_best_epoch_has_the_lowest_validation_loss():
    history = run(6)
    history.history["val_loss"][2] = 0.01
    star = curves(plot_history(history).axes[0])["best: epoch 3"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (3, 0.01)


def test_without_validation_no_epoch_is_called_best():
    assert set(curves(plot_history({"loss": [2.0, 1.0]}).axes[0])) == {"training"}


def test_validation_every_second_epoch_stands_at_its_epochs():
    history = {"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [3.5, 1.5]}
    line = curves(plot_history(history).axes[0])["validation"]
    np.testing.assert_array_equal(line.get_xdata(), [2, 4])


def test_a_loss_that_is_not_finite_is_drawn_as_a_gap():
    figure = plot_history({"loss": [1.0, np.nan], "val_loss": [np.nan, np.nan]})
    assert "training 1.000 to nan" in alt_text(figure)


def test_other_values_are_drawn_on_request():
    figure = plot_history(run(), metrics=("learning_rate",))
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate"]


def test_curves_go_on_the_axes_given():
    axes = Figure().subplots(1, 2)
    assert plot_history(run(), axes=axes) is axes[0].figure
    assert len(axes[0].lines) == len(axes[1].lines) == 3


def test_the_description_tells_epochs_phases_and_ends():
    history = run(6, [("head", 0, 2), ("all", 2, 6)])
    assert alt_text(plot_history(history)) == (
        "Training curves over 6 epochs in 2 phases: head (2), all (4). "
        "Best: epoch 6 (val_loss 1.100). "
        "loss: training 2.000 to 1.000, validation 2.100 to 1.100. "
        "accuracy: training 0.333 to 0.667, validation 0.000 to 0.500."
    )


@pytest.mark.parametrize("history", [3, None, SimpleNamespace(history=[1, 2])])
def test_what_is_no_history_is_named(history):
    with pytest.raises(TypeError, match="training history"):
        plot_history(history)


@pytest.mark.parametrize("history", [{}, {"loss": []}])
def test_a_history_without_epochs_is_named(history):
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_history(history)


@pytest.mark.parametrize("metrics", [(), ("f1",)])
def test_unknown_values_are_named(metrics):
    with pytest.raises(ValueError, match="It holds accuracy, loss, learning_rate"):
        plot_history(run(), metrics=metrics)


def test_scores_of_training_images_as_they_are_stand_at_the_ends_of_phases():
    history = run(6, [("head", 0, 2), ("all", 2, 6)])
    history.phases[1].clean = {"loss": 0.25, "accuracy": 0.75, "images": 12}
    figure = plot_history(history)
    for axes, value in zip(figure.axes, (0.25, 0.75), strict=True):
        line = curves(axes)["training, images as they are"]
        assert line.get_xydata().tolist() == [[6, value]]
    assert "training, images as they are 0.250 in epoch 6" in alt_text(figure)
    assert "as they are" not in alt_text(plot_history(run()))
