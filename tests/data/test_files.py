"""Listing, sniffing and inspecting files."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from kerastl.data.loading import inspect_file, list_files, natural_key


def encoded(kind, size=(40, 30)):
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize(size).save(stream, kind)
    return stream.getvalue()


def test_numbers_sort_by_value():
    names = ["10", "2", "img12.png", "img3.png", "1", "b", "a"]
    expected = ["1", "2", "10", "a", "b", "img3.png", "img12.png"]
    assert sorted(names, key=natural_key) == expected


def test_equal_numbers_have_one_order():
    assert sorted(["01", "1"], key=natural_key) == sorted(["1", "01"], key=natural_key)


def test_listing_finds_images_at_any_depth_whatever_the_case(tmp_path):
    names = ["b/10.JPG", "b/2.jpeg", "a.WebP", "c.gif", "d.bmp", "notes.txt"]
    for name in (*names, ".hidden.png", "__MACOSX/e.png", ".git/f.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    images, others = list_files(tmp_path)
    listed = [path.relative_to(tmp_path).as_posix() for path in images]
    assert listed == ["a.WebP", "b/2.jpeg", "b/10.JPG", "c.gif", "d.bmp"]
    ignored = {path.name for path in others}
    assert ignored == {"notes.txt", ".hidden.png", "__MACOSX", ".git"}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
def test_the_content_tells_the_format(tmp_path, kind, name):
    (tmp_path / name).write_bytes(encoded(kind))
    record = inspect_file(str(tmp_path / name))
    assert (record.format, record.fault) == (kind, None)
    promised = {"a.jpg": "JPEG", "a.png": "PNG", "a": kind}[name]
    assert record.wrong_extension == (promised != kind)


def test_a_record_holds_hash_size_and_mode(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    record = inspect_file(str(path))
    assert record.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.size, record.mode, record.fault) == ((40, 30), "RGB", None)


def test_a_jpegs_size_is_its_full_size(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG", (160, 80)))
    assert inspect_file(str(path)).size == (160, 80)


def test_a_png_named_jpg_can_be_read_and_is_misnamed(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("PNG"))
    record = inspect_file(str(path))
    assert record.wrong_extension
    assert record.fault is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_truncated_file_has_a_fault(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype="uint8")
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    assert inspect_file(str(path)).fault


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "empty"), (b"text", "not an image by its content")]
)
def test_what_is_no_image_has_a_fault(tmp_path, data, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert words in inspect_file(str(path)).fault


def test_a_missing_file_has_a_fault(tmp_path):
    assert "No such file" in inspect_file(str(tmp_path / "a.jpg")).fault
