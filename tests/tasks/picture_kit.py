"""Small images by class: bright ones and dark ones, in folders, archives and arrays."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8
CLASSES = ("bright", "dark")


def pixels(label: str, seed: int, channels: int = 1, side: int = SIDE) -> Any:
    """uint8 (side, side[, 3]): a noisy square, brighter or darker than the middle."""
    shape = (side, side) if channels == 1 else (side, side, channels)
    low, high = (150, 256) if label == "bright" else (0, 106)
    return np.random.default_rng((seed, CLASSES.index(label))).integers(low, high, shape, np.uint8)


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def files(each: int = 20, seed: int = 0, **more: Any) -> dict[str, bytes]:
    """Path to bytes, `each` of every class."""
    return {
        f"{label}/{number:03d}.png": png(pixels(label, 1000 * seed + number, **more))
        for label in CLASSES
        for number in range(each)
    }


def folder(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def archive(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def arrays(path: Path, each: int = 20, seed: int = 0, **more: Any) -> Path:
    labels = [label for label in CLASSES for _ in range(each)]
    images = [
        pixels(label, 1000 * seed + number, **more) for label in CLASSES for number in range(each)
    ]
    np.savez(path, images=np.stack(images), labels=np.array(labels))
    return path
