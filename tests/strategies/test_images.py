"""Pictures as pixels: what a file becomes, and that no file does harm."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perdure.strategies.features import images
from perdure.strategies.features.images import Unreadable, decode, fit, measure

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")


def picture(height: int = 5, width: int = 7, channels: int = 3, seed: int = 0) -> Any:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: Any, form: str = "PNG", mode: str | None = None, **more: Any) -> bytes:
    image = Image.fromarray(array)
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, form, **more)
    return file.getvalue()


def pixels(data: bytes, shape: tuple[int, int, int]) -> Any:
    return np.frombuffer(decode(data, shape), dtype=np.uint8).reshape(shape)


@pytest.mark.parametrize("form", LOSSLESS)
def test_grey_pixels_come_back_as_they_were(form: str) -> None:
    array = picture(channels=1)
    data = encoded(array, form)
    assert measure(data)[:2] == (5, 7)
    np.testing.assert_array_equal(pixels(data, (5, 7, 1))[:, :, 0], array)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_colours_come_back_as_they_were(form: str) -> None:
    array = picture()
    data = encoded(array, form)
    assert measure(data) == (5, 7, 3)
    np.testing.assert_array_equal(pixels(data, (5, 7, 3)), array)


@pytest.mark.parametrize(("form", "more"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_smooth_pictures_survive_what_loses_a_little(form: str, more: dict[str, Any]) -> None:
    ramp = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    array = np.stack([ramp, ramp.T, 255 - ramp], axis=2).astype(np.uint8)
    found = pixels(encoded(array, form, **more), (32, 32, 3))
    assert np.abs(found.astype(int) - array).max() <= 24


def test_grey_is_measured_as_grey() -> None:
    grey = picture(channels=1)
    assert measure(encoded(grey))[2] == 1
    assert measure(encoded(grey, "JPEG"))[2] == 1
    assert measure(encoded(grey, mode="RGB"))[2] == 3


def test_transparency_lies_on_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[0, 0] = (10, 20, 30, 255)
    array[1, 1] = (0, 0, 0, 128)
    found = pixels(encoded(array), (2, 2, 3))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[0, 1].tolist() == [255, 255, 255]
    assert abs(int(found[1, 1, 0]) - 127) <= 1
    palette = encoded(array[:, :, :3], "GIF", mode="P", transparency=0)
    assert pixels(palette, (2, 2, 3))[0, 1].tolist() == [255, 255, 255]


def test_grey_of_colours_is_their_luminance() -> None:
    array = picture(8, 8)
    expected = array @ np.array([0.299, 0.587, 0.114])
    found = pixels(encoded(array), (8, 8, 1))[:, :, 0]
    assert np.abs(found - expected).max() <= 1.0


def test_of_sixteen_bits_the_upper_eight_are_taken() -> None:
    array = np.array([[0, 255, 256], [257, 40_000, 65_535]], dtype=np.uint16)
    data = encoded(array)
    assert measure(data) == (2, 3, 1)
    np.testing.assert_array_equal(pixels(data, (2, 3, 1))[:, :, 0], array >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_undone(orientation: int) -> None:
    upright = picture(4, 6, 1)
    # What a camera stores, so that turning it as EXIF says gives the upright picture again.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(stored), exif=exif)
    assert measure(data) == (4, 6, 1)
    np.testing.assert_array_equal(pixels(data, (4, 6, 1))[:, :, 0], upright)


def test_another_size_is_stretched_and_keeps_its_brightness() -> None:
    array = np.zeros((8, 8), dtype=np.uint8)
    array[:, 4:] = 200
    small = pixels(encoded(array), (2, 4, 1))[:, :, 0].astype(int)
    assert small.shape == (2, 4)
    assert (np.diff(small, axis=1) >= 0).all()
    assert abs(small.mean() - array.mean()) <= 2
    assert (small[0] == small[1]).all()
    even = np.full((3, 5, 3), 77, dtype=np.uint8)
    assert (pixels(encoded(even), (9, 2, 3)) == 77).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = (Image.fromarray(np.full((2, 2), value, np.uint8)) for value in (10, 200))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    assert (pixels(file.getvalue(), (2, 2, 1)) == 10).all()


def test_decoding_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    decode(encoded(picture(), "TIFF"), (5, 7, 3))
    assert not recwarn.list


@given(st.binary(max_size=300))
def test_whatever_the_bytes_they_are_pixels_or_unreadable(data: bytes) -> None:
    for prefix in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\xff\xd8\xff"):
        try:
            found = decode(prefix + data, (2, 2, 3))
        except Unreadable:
            continue
        assert len(found) == 12


@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]))
def test_a_damaged_file_is_pixels_or_unreadable(at: int, value: int, form: str) -> None:
    data = bytearray(encoded(picture(16, 16), form))
    data[at % len(data)] = value
    for damaged in (bytes(data), bytes(data[: at % len(data)])):
        try:
            found = decode(damaged, (4, 4, 3))
        except Unreadable:
            continue
        assert len(found) == 48


def claiming(width: int, height: int) -> bytes:
    """A PNG of some bytes that says to be of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 9_000), (60_000, 60_000)])
def test_an_image_that_would_fill_the_memory_is_refused_by_its_head(size: tuple[int, int]) -> None:
    for look in (measure, lambda data: decode(data, (2, 2, 1))):
        with pytest.raises(Unreadable, match=r"pixels; the most is|exceeds limit"):
            look(claiming(*size))


def test_a_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture())
    monkeypatch.setattr(images, "LARGEST_BYTES", len(data) - 1)
    with pytest.raises(Unreadable, match=rf"has {len(data)} bytes; the most is"):
        decode(data, (5, 7, 3))


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P5 1 1 255 x"])
def test_formats_that_are_not_listed_are_not_opened(data: bytes) -> None:
    with pytest.raises(Unreadable, match="is no image that can be read"):
        decode(data, (2, 2, 1))


def test_thirty_two_bits_to_a_pixel_are_refused() -> None:
    with pytest.raises(Unreadable, match="32 bits"):
        decode(encoded(np.ones((2, 2), dtype=np.float32), "TIFF"), (2, 2, 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_become_the_same_as_files(channels: int) -> None:
    array = picture(6, 4, channels, seed=channels)
    for shape in ((6, 4, 1), (6, 4, 3), (3, 3, 3)):
        assert fit(array, shape) == decode(encoded(array), shape)


def test_arrays_of_the_shape_are_left_as_they_are() -> None:
    array = picture()
    assert fit(array, (5, 7, 3)) == array.tobytes()
    assert fit(picture(channels=1), (5, 7, 1)) == picture(channels=1).tobytes()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images.to_png(array)))), array)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros(4, np.uint8), np.zeros((2, 2, 5), np.uint8),
              np.zeros((0, 2), np.uint8)],
)  # fmt: skip
def test_what_is_no_array_of_pixels_is_refused(array: Any) -> None:
    with pytest.raises(Unreadable, match=r"pixels are uint8|channels"):
        fit(array, (2, 2, 1))
