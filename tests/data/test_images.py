"""Images as cameras and instruments store them: 16 bits are scaled, values without a known range are refused."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from make_layouts import csv_folder, write_image
from PIL import Image

from mlkdc.data import open_data
from mlkdc.data.check import inspect
from mlkdc.errors import UsageError
from mlkdc.images import LIMIT_VARIABLE, image_suffixes, open_rgb

RAMP = np.linspace(0, 65535, 12 * 16).astype(np.uint16).reshape(12, 16)


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        open_rgb(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_become_8(suffix: str, tmp_path: Path):
    path = tmp_path / f"gray{suffix}"
    Image.fromarray(RAMP).save(path)
    rgb = np.asarray(open_rgb(path)).astype(float)
    # The eye sees as much of 0..65535 as of 0..255; rounding down loses less than one step.
    expected = RAMP[..., np.newaxis] / 65535 * 255
    assert np.abs(rgb - expected).max() <= 1
    assert len(np.unique(rgb)) > 150


def test_big_endian_16_bits(tmp_path: Path):
    path = tmp_path / "gray.tif"
    Image.frombytes("I;16B", (16, 12), RAMP.astype(">u2").tobytes()).save(path)
    assert np.array_equal(np.asarray(open_rgb(path))[..., 0], RAMP >> 8)


def test_16_bits_upright_by_exif(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "gray.png", exif=exif)
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "gray.png"))[..., 0], np.rot90(RAMP >> 8, -1))


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_values_without_a_range_are_refused_by_mode(dtype: type, mode: str, tmp_path: Path):
    path = tmp_path / "values.tif"
    Image.fromarray((RAMP / 65535).astype(dtype)).save(path)
    assert f"(mode {mode}), whose range is not known" in refused(path)


def test_modes_are_shown_and_dark_images_named(tmp_path: Path):
    folder = csv_folder(tmp_path, "image,labels,split\na.png,x,train\nb.png,x,val\nc.png,x,test\n")
    Image.fromarray(RAMP).save(folder / "a.png")
    Image.fromarray(RAMP >> 4).save(folder / "b.png")
    inspection = inspect(open_data(str(folder)))
    assert inspection.modes == {"I;16": 2, "RGB": 1}
    assert [(problem.kind, Path(problem.where).name) for problem in inspection.problems] == [
        ("dark 16-bit image", "b.png")
    ]
    assert "no value is above 4,095 of 65,535" in inspection.problems[0].detail


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "an empty file"),
        (b"<html><body>404", "a web page or an SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo, which Pillow cannot read; convert it to JPEG"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git LFS pointer .*: `git lfs pull`",
        ),
        (b"hello", "not an image that Pillow can read"),
    ],
)
def test_what_is_no_image(content: bytes, expected: str, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(content)
    assert re.search(expected, refused(tmp_path / "a.jpg"))


@pytest.mark.filterwarnings("ignore")
def test_damaged_images_of_every_kind(tmp_path: Path):
    rng = np.random.default_rng(0)
    for suffix in (".avif", ".webp", ".png", ".tif", ".gif", ".jp2"):
        good = write_image(tmp_path / f"good{suffix}").read_bytes()
        for number in range(30):
            damaged = bytearray(good)
            for at in rng.integers(12, len(good), 8):
                damaged[at] = rng.integers(256)
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(bytes(damaged[: rng.integers(len(good) // 2, len(good) + 1)]))
            # Whatever Pillow's reader raises, it is one sentence or an image.
            with contextlib.suppress(UsageError):
                open_rgb(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_images_are_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = tmp_path / "large.png"
    Image.new("1", (2000, 1500)).save(path)
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    message = refused(path)
    assert "too large" in message
    assert f"{LIMIT_VARIABLE}=" in message
    assert "damaged" not in message
    monkeypatch.setenv(LIMIT_VARIABLE, "4")
    assert open_rgb(path).size == (2000, 1500)
    monkeypatch.setenv(LIMIT_VARIABLE, "many")
    assert "expected megapixels" in refused(path)


def test_suffixes_are_those_that_pillow_opens():
    assert {".jpg", ".png", ".gif", ".jfif", ".tif", ".webp", ".avif", ".jp2", ".mpo"} <= image_suffixes()
    assert not {".pdf", ".txt", ".eps", ".h5", ".mpg"} & image_suffixes()
