"""Pictures as pixels: decoded by Pillow, of one size, and refused where they are unreadable.

What an image becomes, in this order: turned as its EXIF orientation says; 16 bits to a pixel
cut to the upper 8; transparency laid on white; to grey (ITU-R 601: 0.299 R + 0.587 G +
0.114 B) or to red, green, blue; stretched to the size by Pillow's bilinear filter, which
averages where it makes an image smaller. Of an animation, the first frame.

Ingest decodes once, and what it decoded is what everybody learns from: two versions of Pillow,
or of the JPEG library under it, may differ by a step of 1 in some pixels.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
"""Height, width, channels."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")
LARGEST_BYTES = 64 * 2**20
"""Bytes of one encoded image."""
LARGEST_PIXELS = 89_478_485
"""Pixels of one image: Pillow's own limit. A file of some kilobytes can claim any size."""
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations in which height and width change places."""


class Unreadable(ValueError):
    """An image that cannot be decoded; the message says why, as in `cannot be read: …`."""


def decode(data: bytes, shape: Shape) -> bytes:
    """An encoded image as pixels.

    Returns:
        uint8 in the order (height, width, channels).

    Raises:
        Unreadable: It is no image of a known format, damaged, or too large.
    """
    from PIL import ImageOps

    image = _opened(data)
    try:
        with warnings.catch_warnings(action="ignore"):  # of metadata that is not used
            return _pixels(ImageOps.exif_transpose(image), shape)
    except Unreadable:
        raise
    except MemoryError:
        raise
    except Exception as error:  # of any type, where a file is damaged
        raise Unreadable(f"cannot be read: {_first_line(error)}") from error


def measure(data: bytes) -> Shape:
    """Height, width and channels (1 for grey, else 3) of an encoded image, from its head.

    Raises:
        Unreadable: It is no image of a known format, or too large.
    """
    image = _opened(data)
    try:
        with warnings.catch_warnings(action="ignore"):
            sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Exception as error:  # likewise
        raise Unreadable(f"cannot be read: {_first_line(error)}") from error
    width, height = image.size[::-1] if sideways else image.size
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")
    return height, width, 1 if grey else 3


def fit(array: npt.NDArray[Any], shape: Shape) -> bytes:
    """Pixels of another size or other channels as pixels of this shape.

    Args:
        array: uint8 (height, width) or (height, width, channels), of 1 to 4 channels: grey,
            grey and alpha, red-green-blue, and that with alpha.
        shape: The shape to give them; one that they have already leaves them as they are.

    Raises:
        Unreadable: It is something else.
    """
    from PIL import Image

    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise Unreadable(
            f"is {array.dtype} of shape {array.shape}; pixels are uint8 (height, width[, channels])"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] > 4:
        raise Unreadable(f"has {array.shape[2]} channels; the most is 4")
    if array.shape == shape:
        return np.ascontiguousarray(array).tobytes()
    flat = np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array)
    return _pixels(Image.fromarray(flat), shape)


def to_png(pixels: npt.NDArray[Any]) -> bytes:
    """uint8 (height, width[, channels]) as a PNG file, nothing lost."""
    from PIL import Image

    plain = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(file, "PNG")
    return file.getvalue()


def _opened(data: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    if len(data) > LARGEST_BYTES:
        raise Unreadable(f"has {len(data):,} bytes; the most is {LARGEST_BYTES:,}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of its size, which is looked at here
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise Unreadable(f"is no image that can be read ({known}), or damaged") from error
    except Exception as error:  # of any type, where a file is damaged
        raise Unreadable(f"cannot be read: {_first_line(error)}") from error
    if image.width * image.height > LARGEST_PIXELS:
        raise Unreadable(
            f"has {image.width} x {image.height} pixels; the most is {LARGEST_PIXELS:,}"
        )
    return image


def _pixels(image: Image, shape: Shape) -> bytes:
    from PIL import Image as Pillow

    height, width, channels = shape
    if image.mode.startswith("I;16"):
        image = Pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise Unreadable("has 32 bits to a pixel; 8 and 16 can be read")
    if "A" in image.getbands() or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", above.size, "white"), above)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Pillow.Resampling.BILINEAR)
    return image.tobytes()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
