"""One decoder: every format, mode and fault."""

import os

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kerastl.data.images import decode_images, load_pixels, resize_images
from kerastl.data.sets import ImageSet


def smooth(height, width):
    """A photo-like gradient that survives JPEG."""
    rows, columns = np.mgrid[:height, :width]
    third = np.full((height, width), 90.0)
    pixels = [200 * rows / height + 20, 200 * columns / width + 20, third]
    return np.stack(pixels, axis=-1).astype("uint8")


@pytest.fixture
def save(tmp_path):
    def save_image(pixels, name, **options):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save_image


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.bmp", {}), ("a.webp", {"lossless": True})],
)
def test_lossless_formats_give_the_very_pixels(save, name, options):
    pixels = smooth(12, 16)
    decoded = decode_images([save(pixels, name, **options)], image_size=(12, 16))
    np.testing.assert_array_equal(decoded[0], pixels)


def test_jpeg_comes_close_to_the_pixels(save):
    pixels = smooth(32, 32)
    decoded = decode_images([save(pixels, "a.jpg", quality=95)], image_size=32)
    np.testing.assert_allclose(decoded[0].astype(int), pixels.astype(int), atol=6)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_an_animation_gives_its_first_frame(save, name):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(red, name, save_all=True, append_images=[blue], **options)
    decoded = decode_images([path], image_size=8)
    np.testing.assert_array_equal(decoded[0], np.asarray(red))


def test_sixteen_bits_are_scaled_and_not_clipped(save):
    deep = (np.arange(64, dtype="uint16") * 1000).reshape(8, 8)
    decoded = decode_images([save(deep, "a.png")], image_size=8)
    np.testing.assert_array_equal(decoded[0, :, :, 1], deep // 256)


def test_gray_is_repeated_to_three_channels(save):
    gray = smooth(8, 8)[..., 0]
    decoded = decode_images([save(gray, "a.png")], image_size=8)
    np.testing.assert_array_equal(decoded[0], np.stack([gray] * 3, axis=-1))


def drawing(mode):
    """A black square on transparency, and what it is on white."""
    alpha = np.zeros((8, 8), "uint8")
    alpha[2:6, 2:6] = 255
    image = Image.fromarray(np.dstack([np.zeros((8, 8, 3), "uint8"), alpha]))
    image = image.quantize() if mode == "P" else image.convert(mode)
    return image, np.stack([255 - alpha] * 3, axis=-1)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGBA", "a.png"),
        ("LA", "a.png"),
        ("P", "a.png"),
        ("RGBA", "a.tiff"),
        ("LA", "a.tiff"),
        ("RGBA", "a.gif"),
    ],
)
def test_what_is_transparent_lies_on_white(save, mode, name):
    image, expected = drawing(mode)
    decoded = decode_images([save(image, name)], image_size=8)
    np.testing.assert_array_equal(decoded[0], expected)


def test_a_transparent_colour_lies_on_white(save):
    path = save(np.zeros((8, 8, 3), "uint8"), "a.png", transparency=(0, 0, 0))
    np.testing.assert_array_equal(decode_images([path], image_size=8), 255)


def test_half_transparent_arrays_and_files_are_laid_on_white_alike(save):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 8, 8, 4), "uint8")
    share = pixels[..., 3:] / 255
    expected = np.rint(pixels[..., :3] * share + 255 * (1 - share))
    resized = resize_images(pixels, image_size=8)
    np.testing.assert_array_equal(resized, expected)
    decoded = decode_images([save(pixels[0], "a.png")], image_size=8)
    np.testing.assert_array_equal(decoded, resized)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("AVIF", "web.jpg"),
        ("TIFF", "scan.tif"),
        ("JPEG", "browser.jfif"),
        ("PPM", "nothing"),
        ("JPEG2000", "scan.png"),
        ("TGA", "old.tga"),
    ],
)
def test_whatever_pillow_reads_is_read(save, kind, name):
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    decoded = decode_images([save(red, name, format=kind)], image_size=8)
    assert abs(decoded[0, 4, 4].astype(int) - [200, 0, 0]).max() < 6


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["zip", "plain", "international", "profile"])
def test_a_large_text_beside_the_pixels_is_passed_over(save, kind, after):
    long, info, options = "a" * 2_000_000, PngImagePlugin.PngInfo(), {}
    if kind == "international":
        info.add_itxt("note", long, zip=True)
    elif kind == "profile":
        options["icc_profile"] = long.encode()
    else:
        # Pillow bounds packed texts one by one, and all texts together.
        for _ in range(1 if kind == "zip" else 40):
            info.add_text("note", long, zip=kind == "zip")
    path = save(smooth(8, 8), "a.png", pnginfo=info, **options)
    if after:
        data = path.read_bytes()
        start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
        path.write_bytes(data[:33] + data[start:end] + data[33:start] + data[end:])
    decoded = decode_images([path], image_size=8)
    np.testing.assert_array_equal(decoded[0], smooth(8, 8))


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((8, 8), 0.5, "float32"), "floats"),
        (np.full((8, 8), 70_000, "int32"), "16 bits"),
    ],
)
def test_depths_that_have_no_reading_are_refused(save, pixels, words):
    with pytest.raises(ValueError, match=words):
        decode_images([save(pixels, "a.tif")], image_size=8)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a regular file"):
        decode_images([tmp_path / "a.png"], image_size=8)


def test_a_file_too_large_to_be_a_picture_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(ValueError, match=r"1\.0 GiB are no picture"):
        decode_images([tmp_path / "a.png"], image_size=8)


def test_cmyk_becomes_rgb(save):
    path = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "a.jpg", quality=95)
    red, green, blue = decode_images([path], image_size=8)[0, 4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_the_cameras_orientation_is_respected(save, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = smooth(8, 12)
    upright = np.rot90(pixels, turns)
    path = save(pixels, "a.png", exif=exif)
    decoded = decode_images([path], image_size=upright.shape[:2])
    np.testing.assert_array_equal(decoded[0], upright)


def test_a_turned_jpeg_is_not_decoded_smaller_than_asked(save):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = smooth(64, 16)
    path = save(pixels, "a.jpg", quality=100, exif=exif)
    decoded = decode_images([path], image_size=(16, 64))
    upright = np.rot90(pixels, 3).astype(int)
    np.testing.assert_allclose(decoded[0].astype(int), upright, atol=6)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_reduced_scale_comes_close_to_full_scale(save, resize):
    pixels = smooth(300, 400)
    fast = decode_images(
        [save(pixels, "a.jpg", quality=95)], image_size=32, resize=resize
    )
    full = resize_images(pixels[None], image_size=32, resize=resize)
    np.testing.assert_allclose(fast.astype(int), full.astype(int), atol=6)


@pytest.mark.parametrize(
    ("resize", "target", "turned", "expected"),
    [
        ("stretch", 32, False, (64, 32)),
        ("crop", 32, False, (64, 32)),
        ("pad", 32, False, (32, 16)),
        # Lying on its side the photo is 128 wide and 256 high.
        ("stretch", (128, 64), False, (256, 128)),
        ("stretch", (128, 64), True, (128, 64)),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_the_target_allows(
    save, monkeypatch, resize, target, turned, expected
):
    from PIL import JpegImagePlugin

    seen = []
    plain = JpegImagePlugin.JpegImageFile.draft

    def spy(image, mode, size):
        result = plain(image, mode, size)
        seen.append(image.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spy)
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    path = save(smooth(128, 256), "a.jpg", exif=exif)
    decode_images([path], image_size=target, resize=resize)
    assert seen == [expected]


def test_pixels_do_not_depend_on_threads(save):
    paths = [save(smooth(20 + i, 30), f"{i}.jpg") for i in range(9)]
    one = decode_images(paths, image_size=16, threads=1)
    np.testing.assert_array_equal(decode_images(paths, image_size=16, threads=4), one)
    np.testing.assert_array_equal(decode_images(paths[7:8], image_size=16)[0], one[7])


def test_files_and_arrays_are_resized_alike(save):
    pixels = smooth(20, 30)
    for resize in ("stretch", "crop", "pad"):
        decoded = decode_images([save(pixels, "a.png")], image_size=8, resize=resize)
        resized = resize_images(pixels[None], image_size=8, resize=resize)
        np.testing.assert_array_equal(decoded, resized)


def test_pad_keeps_the_ratio_on_black():
    white = np.full((1, 10, 20, 3), 255, "uint8")
    padded = resize_images(white, image_size=8, resize="pad")
    np.testing.assert_array_equal(padded[0, 2:6], 255)
    np.testing.assert_array_equal(padded[0, [0, 1, 6, 7]], 0)


def test_crop_keeps_the_centre():
    striped = np.zeros((1, 8, 16, 3), "uint8")
    striped[:, :, 4:12] = 255
    cropped = resize_images(striped, image_size=8, resize="crop")
    np.testing.assert_array_equal(cropped[0, :, 1:-1], 255)


def test_stretch_keeps_the_mean_colour():
    pixels = smooth(32, 64)
    shrunk = resize_images(pixels[None], image_size=8)
    expected = pixels.reshape(8, 4, 8, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk[0], expected, atol=12)
    np.testing.assert_allclose(shrunk.mean(), pixels.mean(), atol=1)


def test_floats_are_rounded():
    floats = np.full((1, 4, 4), 99.6)
    assert resize_images(floats, image_size=4)[0, 0, 0].tolist() == [100] * 3


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (1 / 255, "Multiply by 255"),
        (1.004 / 195, "Multiply by 255"),
        (1.2 / 195, "Multiply by 255"),
        (1.33, r"clip\(0, 255\)"),
        (2.0, "0-255"),
        (-1.0, "Undo the preprocessing"),
        (np.nan, "0-255"),
    ],
)
def test_arrays_that_are_not_0_to_255_are_refused(scale, words):
    with pytest.raises(ValueError, match=words):
        resize_images(smooth(8, 8)[None] * scale, image_size=4)


@pytest.mark.parametrize("kind", ["bool", "int32", "uint8"])
def test_whole_numbers_of_0_and_1_are_seen(kind):
    array = (smooth(8, 8)[None] > 100).astype(kind)
    if kind == "uint8":
        with pytest.warns(UserWarning, match="No pixel is above 1"):
            resize_images(array, image_size=4)
    else:
        with pytest.raises(ValueError, match="Multiply by 255"):
            resize_images(array.astype("int32"), image_size=4)


def test_black_images_are_accepted():
    assert not resize_images(np.zeros((1, 8, 8)), image_size=4).any()


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="1, 3 or 4"):
        resize_images(np.full((1, 8, 8, 2), 9), image_size=4)


def test_broken_files_are_all_named(save, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    good = save(noise, "good.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-300])
    paths = [good, tmp_path / "text.jpg", good, tmp_path / "cut.jpg"]
    with pytest.raises(ValueError, match=r"text\.jpg.*cut\.jpg.*truncated"):
        decode_images(paths, image_size=8)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        decode_images([tmp_path / "gone.png"], image_size=8)


def test_an_unknown_resize_is_refused(save):
    with pytest.raises(ValueError, match="Did you mean 'stretch'"):
        decode_images([], image_size=8, resize="strech")


def test_one_path_is_not_a_sequence(save):
    with pytest.raises(TypeError, match="not one path"):
        decode_images("a.png", image_size=8)


def test_load_pixels_reports_progress_up_to_the_total(save):
    paths = [save(smooth(8, 8), f"{i}.png") for i in range(9)]
    seen = []
    images = ImageSet(tuple(map(str, paths)), None, ("a",))
    load_pixels(images, image_size=8, progress=lambda *done: seen.append(done))
    assert seen[-1] == (9, 9)


def test_load_pixels_of_arrays_is_resize_images():
    images = ImageSet(smooth(8, 8)[None], None, ("a",))
    expected = resize_images(images.images, image_size=4)
    np.testing.assert_array_equal(load_pixels(images, image_size=4), expected)
