"""Listing, sniffing and inspecting files."""

import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from kerastl.data.folders import list_files, walk
from kerastl.data.loading import inspect_file
from kerastl.data.sets import natural_key


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
    names = [
        "b/10.JPG",
        "b/2.jpeg",
        "a.WebP",
        "c.gif",
        "d.bmp",
        "notes.txt",
        "more.txt",
    ]
    for name in (*names, "table.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    images, said = list_files(tmp_path)
    listed = [path.relative_to(tmp_path).as_posix() for path in images]
    assert listed == ["a.WebP", "b/2.jpeg", "b/10.JPG", "c.gif", "d.bmp"]
    assert said == ["Left out 3 files of other kinds: .txt 2, .csv 1."]


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "._photo.jpg",
        "__MACOSX/a.png",
        "@eaDir/a.png/SYNO.jpg",
        ".thumbnails/a.png",
        "$RECYCLE.BIN/a.png",
        ".Trash-1000/a.png",
        ".ipynb_checkpoints/a.png",
        "lost+found/a.png",
        "System Volume Information/a.png",
    ],
)
def test_what_systems_leave_is_passed_over(tmp_path, name):
    (tmp_path / "b.png").write_bytes(encoded("PNG"))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(encoded("PNG"))
    assert list_files(tmp_path) == ([tmp_path / "b.png"], [])
    top, _ = walk(tmp_path)
    assert [path.name for path in top.systems] == [name.split("/")[0]]


@pytest.mark.parametrize(
    "name", ["photo", "scan.tif", "web.jfif", "old.jpe", "a.dat", "b.2019"]
)
def test_content_decides_whatever_the_name(tmp_path, name):
    kind = "TIFF" if name == "scan.tif" else "JPEG"
    (tmp_path / name).write_bytes(encoded(kind))
    (tmp_path / "notes").write_text("P3 is no picture")
    images, said = list_files(tmp_path)
    assert [path.name for path in images] == [name]
    assert said == ["Left out 1 file of other kinds: no ending 1."]


@pytest.mark.parametrize("target", ["..", "../..", ".", "../b"])
def test_a_link_to_what_is_read_anyhow_counts_once(tmp_path, target):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / "set" / "a" / "link").symlink_to(target, target_is_directory=True)
    images, said = list_files(tmp_path / "set")
    assert len(images) == 2
    assert said == ["Left out links to folders that are read anyhow: 'a/link'."]


def test_links_out_of_the_folder_are_followed_once_and_said(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "pool")
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "pool" / "0.png")
    (tmp_path / "set" / "2.png").symlink_to(tmp_path / "nowhere.png")
    images, said = list_files(tmp_path / "set")
    listed = [path.relative_to(tmp_path / "set").as_posix() for path in images]
    assert listed == ["1.png", "a/0.png"]
    assert sorted(said) == [
        "Followed links that lead out of the folder: '1.png', 'a'.",
        "Left out links to folders that are read anyhow: 'b'.",
        "Left out what is no regular file: '2.png'.",
    ]


def test_pipes_and_devices_are_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert list_files(tmp_path) == (
        [],
        ["Left out what is no regular file: 'pipe.png', 'zero.png'."],
    )


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
