import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kerastl.data.sets import ImageSet
from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.grids import plot_mistakes, show_images


def pixels_of(axes):
    return np.asarray(axes.images[0].get_array())


def test_uint8_images_are_drawn_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3)).astype("uint8")
    for axes, image in zip(show_images(images).axes, images, strict=True):
        np.testing.assert_array_equal(pixels_of(axes), image)


def test_float_images_of_0_to_255_are_rounded_and_clipped():
    figure = show_images(np.array([[[-4.0, 99.6], [259.0, 7.0]]], "float32"))
    np.testing.assert_array_equal(pixels_of(figure.axes[0]), [[0, 100], [255, 7]])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_each_channel_count_are_drawn(channels):
    figure = show_images(np.full((1, 4, 4, channels), 200, "uint8"))
    expected = (4, 4) if channels == 1 else (4, 4, channels)
    assert pixels_of(figure.axes[0]).shape == expected


def test_grey_images_keep_their_brightness():
    image = show_images(np.full((1, 4, 4), 200, "uint8")).axes[0].images[0]
    assert image.get_clim() == (0, 255)


def test_images_of_several_sizes_and_kinds_are_drawn():
    images = [Image.new("RGB", (9, 5), "red"), np.zeros((3, 4), "uint8")]
    shapes = [pixels_of(axes).shape for axes in show_images(images).axes]
    assert shapes == [(5, 9, 3), (3, 4)]


def test_only_the_first_images_are_drawn_and_the_description_says_so():
    figure = show_images(np.zeros((9, 4, 4), "uint8"), count=5)
    assert len(figure.axes) == 5
    assert alt_text(figure) == "Grid of 5 of 9 images."


def test_columns_lay_out_the_grid():
    figure = show_images(np.zeros((5, 4, 4), "uint8"), columns=2)
    assert figure.axes[0].get_gridspec().get_geometry() == (3, 2)


def test_a_wrong_answer_shows_in_words_and_in_its_border():
    figure = show_images(
        np.zeros((2, 4, 4), "uint8"),
        labels=[0, 1],
        class_names=("cat", "dog"),
        probabilities=[[0.2, 0.8]] * 2,
    )
    wrong, right = figure.axes
    assert (wrong.get_title(), right.get_title()) == (
        "cat\n-> dog (0.80)",
        "dog (0.80)",
    )
    widths = [axes.spines["top"].get_linewidth() for axes in (wrong, right)]
    assert widths[0] > widths[1]


def test_the_description_lists_the_captions():
    figure = show_images(np.zeros((2, 4, 4), "uint8"), labels=[1, 0])
    assert alt_text(figure) == "Grid of 2 of 2 images: 1; 0."


def test_a_grid_goes_on_the_subfigure_given():
    whole = Figure()
    left = whole.subfigures(1, 2)[0]
    assert show_images(np.zeros((2, 4, 4), "uint8"), figure=left) is whole
    assert len(left.axes) == 2


@pytest.mark.parametrize("names", [("a very long name of a terrier",) * 2, None])
def test_captions_do_not_overlap(names):
    labels, probabilities = np.zeros(8, int), [[0.1, 0.9]] * 8
    figure = plot_mistakes(np.zeros((8, 30, 40)), labels, probabilities, names)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_mistakes_are_drawn_surest_first():
    images = np.arange(4, dtype="uint8")[:, None, None] * np.ones((4, 2, 2), "uint8")
    probabilities = [[0.4, 0.6], [0.1, 0.9], [0.0, 1.0], [0.3, 0.7]]
    figure = plot_mistakes(images, [0, 0, 1, 0], probabilities, ("cat", "dog"))
    assert [pixels_of(axes)[0, 0] for axes in figure.axes] == [1, 3, 0]
    assert figure.axes[0].get_title() == "cat\n-> dog (0.90)"
    assert alt_text(figure).startswith("The 3 most confident mistakes in 4 images: cat")


def test_only_the_mistakes_are_read_from_the_images():
    class Lazy:
        read = ()

        def __len__(self):
            return 3

        def __getitem__(self, index):
            self.read += (index,)
            return np.zeros((4, 4), "uint8")

    images = Lazy()
    plot_mistakes(images, [0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    assert images.read == (1,)


def test_at_most_count_mistakes_are_drawn():
    figure = plot_mistakes(np.zeros((9, 4, 4)), [1] * 9, [[0.9, 0.1]] * 9, count=4)
    assert len(figure.axes) == 4


def test_without_mistakes_a_panel_says_so():
    figure = plot_mistakes(np.zeros((2, 4, 4)), [0, 1], np.eye(2))
    assert alt_text(figure) == "No mistakes: 2 of 2 images right."
    assert figure.axes[0].texts[0].get_text() == alt_text(figure)


@pytest.mark.parametrize(
    "pixels", [[0.0, 1.0], [-1.0, 1.0], [-123.7, 150.0], [0.0, 400.0], [0.0, np.nan]]
)
def test_pixels_that_are_not_0_to_255_are_named(pixels):
    with pytest.raises(ValueError, match="pixels from 0 to 255"):
        show_images(np.array([[pixels]], "float32"))


def test_black_float_images_are_drawn():
    assert not pixels_of(show_images(np.zeros((1, 4, 4))).axes[0]).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: show_images([]), "at least one image"),
        (lambda: show_images(np.zeros((2, 4, 4, 2), "uint8")), r"\(h, w\)"),
        (lambda: show_images(np.zeros((2, 4, 4)), columns=0), "`columns`"),
        (lambda: show_images(np.zeros((2, 4, 4)), count=0), "`count`"),
        (
            lambda: plot_mistakes(np.zeros((2, 4, 4)), [0], [[1.0, 0.0]]),
            "one per label",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_image_set_shows_its_own_labels(tmp_path):
    pixels = np.arange(2 * 64, dtype="uint8").reshape(2, 8, 8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    for images in (pixels, paths):
        figure = show_images(ImageSet(images, [1, 0], ("cat", "dog")))
        assert [axes.get_title() for axes in figure.axes] == ["dog", "cat"]
        shown = np.asarray(figure.axes[1].images[0].get_array())
        np.testing.assert_array_equal(shown.reshape(8, 8, -1)[..., 0], pixels[1])
    show_images(ImageSet(paths, [1.0, 2.0], target_names=("age",)))
