"""Images at the door: folders, archives and arrays; what is refused, and that none does harm."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure.errors import DataRefused, UsageError
from perdure.strategies.features import images
from perdure.tasks.tables import arrays, bundles, pictures
from perdure.tasks.tables.check import check
from perdure.tasks.tables.read import read
from perdure.tasks.tables.schema import ImageColumn, Schema, infer_pictures, parse, render
from tests.tasks import picture_kit as kit

COLUMN = ImageColumn(height=8, width=8, channels=1)


def schema_of(path: Path, **more: Any) -> Schema:
    return infer_pictures(path, "label", **more)


def bring(form: str, root: Path, content: dict[str, bytes]) -> Path:
    if form == "folder":
        return kit.folder(root / "images", content)
    if form == "zip":
        return kit.archive(root / "images.zip", content)
    if form == "zip of a folder":
        return kit.archive(root / "images.zip", {f"photos/{n}": d for n, d in content.items()})
    return kit.arrays(root / "images.npz", 20)


FORMS = ["folder", "zip", "zip of a folder", "npz"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str, tmp_path: Path) -> None:
    path = bring(form, tmp_path, kit.files(20))
    assert pictures.holds_images(path)
    schema = schema_of(path)
    assert schema.columns == {"image": COLUMN}
    assert schema.target.classes == kit.CLASSES  # type: ignore[union-attr]  # of classes
    found = check(read(path, schema).frame, schema)
    assert found.refused.empty
    expected = [kit.pixels(c, n).tobytes() for c in kit.CLASSES for n in range(20)]
    assert found.accepted["image"].tolist() == expected
    assert found.accepted["label"].tolist() == [c for c in kit.CLASSES for _ in range(20)]


def test_the_schema_can_be_written_and_read(tmp_path: Path) -> None:
    schema = schema_of(kit.folder(tmp_path / "d", kit.files(3)), size=(5, 6))
    assert parse(render(schema)) == schema
    assert schema.kind == "image"
    (column,) = schema.feature_spec().columns
    assert (column.name, column.kind, column.shape) == ("image", "image", (5, 6, 1))


def test_the_size_is_the_most_common_and_not_above_224(tmp_path: Path) -> None:
    content = kit.files(3, side=9) | {"dark/x.png": kit.png(kit.pixels("dark", 1, side=30))}
    root = kit.folder(tmp_path / "a", content)
    assert schema_of(root).columns["image"] == ImageColumn(height=9, width=9, channels=1)
    wide = {f"{c}/1.png": kit.png(np.zeros((300, 448, 3), np.uint8)) for c in "ab"}
    found = schema_of(kit.folder(tmp_path / "b", wide)).columns["image"]
    assert found == ImageColumn(height=150, width=224, channels=3)


def test_numbers_as_folders_are_numbers_as_classes(tmp_path: Path) -> None:
    content = {f"{n}/a.png": kit.png(kit.pixels("dark", n)) for n in (0, 7, 10)}
    assert schema_of(kit.folder(tmp_path / "d", content)).target.classes == (0, 7, 10)  # type: ignore[union-attr]  # of classes


def test_an_unreadable_image_is_one_refused_row_with_its_name(tmp_path: Path) -> None:
    content = kit.files(20)
    content["dark/003.png"] = content["dark/003.png"][:80]
    content["bright/notes.txt"] = b"hello"
    content["stray.png"] = kit.png(kit.pixels("dark", 5))
    root = kit.folder(tmp_path / "d", content)
    schema = schema_of(root)
    found = check(read(root, schema).frame, schema)
    assert (len(found.accepted), found.refused_rows, found.whole) == (39, 3, ())
    assert found.refused[["row", "column", "value"]].to_numpy().tolist() == [
        [21, "image", "bright/notes.txt"],
        [25, "image", "dark/003.png"],
        [42, "image", "stray.png"],
        [42, "label", None],
    ]
    result = found.refused["reason"].tolist()
    assert "is no image that can be read" in result[0]
    assert result[1].startswith("image = 'dark/003.png' cannot be read: ")
    assert "lies in no folder of a class" in result[2]
    text = found.bad_rows.to_csv()
    assert (
        text == "row,image,label\n21,bright/notes.txt,bright\n25,dark/003.png,dark\n42,stray.png,\n"
    )
    kept = pictures.refused(root, [str(name) for name in found.bad_rows["image"]])
    assert kept is not None
    wanted = ("bright/notes.txt", "dark/003.png", "stray.png")
    assert dict(kept) == {name: content[name] for name in wanted}


def test_a_folder_of_a_new_class_waits_until_there_are_enough(tmp_path: Path) -> None:
    schema = schema_of(kit.folder(tmp_path / "a", kit.files(20)))
    more = kit.files(20) | {f"grey/{n}.png": kit.png(kit.pixels("dark", n)) for n in range(4)}
    found = check(read(kit.folder(tmp_path / "b", more), schema).frame, schema)
    assert (len(found.accepted), found.refused_rows) == (40, 4)
    assert found.summary == (
        "row 41: label = 'grey' is a new class with 4 rows in this file; the least is 10 "
        "(and 3 more such)",
    )


def test_links_are_refused_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(kit.png(kit.pixels("dark", 77)))
    root = kit.folder(tmp_path / "d", kit.files(20))
    (root / "dark" / "zz.png").symlink_to(secret)
    (root / "dark" / "zzz").symlink_to(tmp_path)
    schema = schema_of(root)
    found = check(read(root, schema).frame, schema)
    assert found.refused["value"].tolist() == ["dark/zz.png", "dark/zzz"]
    assert found.refused["reason"].str.contains("is a link").all()
    kept = pictures.refused(root, ["dark/zz.png"])
    assert kept is not None
    assert dict(kept) == {"dark/zz.png": b"dark/zz.png is a link\n"}


def member(name: str, **facts: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def test_an_archive_reaches_nothing_outside(tmp_path: Path) -> None:
    picture = kit.png(kit.pixels("dark", 1))
    path = kit.archive(tmp_path / "d.zip", kit.files(20))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(member("../dark/up.png"), picture)
        file.writestr(member("/dark/root.png"), picture)
        file.writestr(
            member("dark/link.png", external_attr=(stat.S_IFLNK | 0o777) << 16), "/etc/passwd"
        )
        file.writestr(member("__MACOSX/dark/._1.png"), b"resource fork")
        file.writestr(member("dark/.hidden.png"), b"hidden")
    before = sorted(tmp_path.rglob("*"))
    schema = schema_of(path)
    found = check(read(path, schema).frame, schema)
    assert len(found.accepted) == 40
    reasons = dict(zip(found.refused["value"], found.refused["reason"], strict=True))
    assert "leads out of the archive" in reasons["../dark/up.png"]
    assert "leads out of the archive" in reasons["/dark/root.png"]
    assert "is a link" in reasons["dark/link.png"]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_same_name_twice_is_refused_once(tmp_path: Path) -> None:
    path = kit.archive(tmp_path / "d.zip", kit.files(20))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("dark/001.png", kit.png(kit.pixels("bright", 1)))
    schema = schema_of(path)
    found = check(read(path, schema).frame, schema)
    assert len(found.accepted) == 40
    assert found.refused["reason"].str.contains("is in the archive twice").all()


def test_damage_inside_an_archive_is_one_refused_row_and_all_is_kept(tmp_path: Path) -> None:
    path = kit.archive(tmp_path / "d.zip", kit.files(20))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        at = file.getinfo("dark/005.png").header_offset + 60
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    schema = schema_of(path)
    found = check(read(path, schema).frame, schema)
    assert found.refused["value"].tolist() == ["dark/005.png"]
    assert pictures.refused(path, ["dark/005.png"]) is None


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for label in kit.CLASSES:
            file.writestr(f"{label}/a.png", bytes(2_000_000))
    assert bomb.stat().st_size < 10_000
    monkeypatch.setattr(images, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(DataRefused, match="no image that can be read"):
        schema_of(bomb)
    with bundles.opened(bomb) as bundle:
        assert all(len(item.data()) == 1_000_001 for item in bundle.items())  # not a byte more
    monkeypatch.setattr(bundles, "MOST_UNPACKED_BYTES", 3_000_000)
    with pytest.raises(DataRefused, match="unpacks to"):
        schema_of(bomb)
    monkeypatch.setattr(arrays, "MOST_BYTES", 1_000)
    with pytest.raises(DataRefused, match="unpacks to"):
        schema_of(kit.arrays(tmp_path / "d.npz"))


def test_more_than_fits_into_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = kit.folder(tmp_path / "d", kit.files(20))
    schema = schema_of(root)
    monkeypatch.setattr(pictures, "MOST_PIXEL_BYTES", 40 * 64 - 1)
    with pytest.raises(DataRefused, match="holds 40 images"):
        read(root, schema)


def npz(path: Path, **named: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **named)
    return path


GOOD = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"images": GOOD}, "has no 'labels'; its arrays are 'images'"),
        ({"images": GOOD, "x": GOOD, "y": np.arange(4)}, "has both 'images' and 'x'"),
        ({"x": GOOD.astype(float), "y": np.arange(4)}, "x is float64 of shape"),
        ({"x": GOOD[0], "y": np.arange(4)}, r"x is uint8 of shape \(8, 8\)"),
        ({"x": np.zeros((4, 8, 8, 5), np.uint8), "y": np.arange(4)}, "of 1 to 4 channels"),
        ({"x": GOOD, "y": np.arange(3)}, r"y has shape \(3,\) beside 4 images"),
        ({"x": GOOD, "y": np.eye(4)}, "one label for each image"),
        ({"x": GOOD, "y": np.array([b"a"] * 4)}, "it must be text, numbers or truth values"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    named: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataRefused, match=message):
        schema_of(npz(tmp_path / "d.npz", **named))


def test_the_arrays_of_a_dataset_of_keras(tmp_path: Path) -> None:
    labels = np.arange(4) % 2
    path = npz(tmp_path / "m.npz", x_test=GOOD[:1], x_train=GOOD, y_train=labels, y_test=labels[:1])
    schema = schema_of(path)
    table = read(path, schema)
    assert len(table.frame) == 4
    assert table.notes == ("left out: x_test, y_test",)


def test_nothing_in_arrays_is_unpickled(tmp_path: Path) -> None:
    class Bang:
        def __reduce__(self) -> Any:
            return print, ("code ran",)

    path = npz(tmp_path / "d.npz", x=GOOD, y=np.array([Bang()] * 4, dtype=object))
    with pytest.raises(DataRefused, match="allow_pickle=False"):
        schema_of(path)


def test_a_class_of_arrays_that_is_unknown_is_kept_as_png(tmp_path: Path) -> None:
    schema = schema_of(kit.arrays(tmp_path / "a.npz"))
    labels = np.array(["dark", "bright", "grey", "dark"])
    array = np.stack([kit.pixels("dark", n, channels=3) for n in range(4)])
    path = npz(tmp_path / "b.npz", x=array, y=labels)
    found = check(read(path, schema).frame, schema)
    assert found.accepted["image"].map(len).tolist() == [64] * 3
    assert found.bad_rows["image"].map(str).tolist() == ["row-3.png"]
    kept = pictures.refused(path, ["row-3.png"])
    assert kept is not None
    assert images.decode(dict(kept)["row-3.png"], (8, 8, 3)) == array[2].tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "d").mkdir(), "has no files in it"),
        (lambda p: kit.folder(p / "d", {"a.png": b"x"}), "has no folder of a class"),
        (lambda p: (p / "d").write_text("a,b\n1,2\n"), "neither a folder of images"),
        (lambda p: (p / "d").write_bytes(b"PK\x03\x04 and nothing"), "no whole ZIP archive"),
        (lambda p: kit.archive(p / "d", {}), "has no files in it"),
    ],
)  # fmt: skip
def test_what_holds_no_images_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DataRefused, match=message):
        pictures.read_pictures(tmp_path / "d", "image", COLUMN, "label")


def test_a_table_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    assert not pictures.holds_images(tmp_path / "d.csv")
    assert not pictures.holds_images(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["32", "32x", "x32", "0x3", "32x5000", "-3x4", "3x4x5", "²x2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size of images"):
        pictures.parse_size(text)
    assert pictures.parse_size("32X28") == (32, 28)


def test_odd_names_are_shown_harmlessly(tmp_path: Path) -> None:
    root = kit.folder(tmp_path / "d", kit.files(20))
    (root / "dark" / "a\nb\x1b[31m.png").write_bytes(b"x")
    (root / "dark" / "\udcff.png").write_bytes(b"x")
    schema = schema_of(root)
    found = check(read(root, schema).frame, schema)
    assert found.refused["value"].tolist() == ["dark/a\\nb\\x1b[31m.png", "dark/\\udcff.png"]
    found.bad_rows.to_csv(io.BytesIO(), encoding="utf-8")
    assert isinstance(found.bad_rows, pd.DataFrame)
