"""Images, texts and sequences, from an empty folder to a served model, with what init writes."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perdure import config
from perdure.flows.evaluate import evaluate
from perdure.flows.ingest import ingest
from perdure.flows.initialise import initialise
from perdure.flows.retrain import retrain
from perdure.flows.status import show, status
from perdure.records import Ingested
from perdure.tasks.tables import schema
from tests.promises import kit
from tests.tasks import picture_kit

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own use of pandas warns

EACH = 50
"""Rows of a class in an experience."""


def served(root: Path) -> Any:
    import mlflow

    registry = kit.registry(root)
    with registry.client.current():
        return mlflow.pyfunc.load_model(f"models:/{registry.name}@champion")


def lives(root: Path, second: Path, factory: str) -> Ingested:
    """Bring a second experience, learn both, and look at the result; what became of it."""
    assert f'factory = "{factory}"' in (root / "perdure.toml").read_text()
    (arrived,) = ingest.fn(
        str(root), [str(second)] if second.parent.name != "inbox" else None
    ).files
    assert arrived.outcome == "ingested"
    done = retrain.fn(str(root))
    assert all(one.promoted for one in done.learned)
    assert len(done.learned) == 2
    assert kit.registry(root).read().champion.version == 2
    found = evaluate.fn(str(root), version=2)
    assert found.verdict.passed
    assert found.metrics.average["accuracy"] > 0.8
    assert len(show(str(root), 2)["matrix"]["experiences"]) == 2
    return arrived


def test_images(tmp_path: Path) -> None:
    first = picture_kit.folder(tmp_path / "first", picture_kit.files(EACH))
    root = tmp_path / "w"
    made = initialise(root, first)
    assert (made.task, made.first.outcome, made.first.rows) == (
        "classification",
        "ingested",
        2 * EACH,
    )
    assert first.is_dir()

    content = picture_kit.files(EACH, seed=1)
    content["dark/007.png"] = content["dark/007.png"][:80]
    second = picture_kit.folder(root / "inbox" / "monday", content)
    assert status(str(root))["inbox"] == ["monday"]
    arrived = lives(root, second, "cnn")
    assert not second.exists()

    assert (arrived.rows, arrived.refused_rows) == (2 * EACH - 1, 1)
    assert "dark/007.png" in arrived.reasons[0]
    assert arrived.folder is not None
    place = root / arrived.folder
    with (place / "reasons.csv").open() as file:
        (reason,) = csv.DictReader(file)
    assert (reason["row"], reason["value"]) == (str(EACH + 8), "dark/007.png")
    with zipfile.ZipFile(place / "rows.zip") as archive:
        assert archive.read("dark/007.png") == content["dark/007.png"]
    assert kit.git(root, "status", "--porcelain") == ""

    model = served(root)
    for label in picture_kit.CLASSES:
        asked = np.stack([picture_kit.pixels(label, 9000 + n) for n in range(20)])
        assert np.mean(model.predict(asked) == label) > 0.9
    files = pd.DataFrame({"image": [picture_kit.png(one) for one in asked]})
    assert (model.get_raw_model().predict(files) == model.predict(asked)).all()


def reviews(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for label, words in (("good", ["lovely", "superb"]), ("bad", ["awful", "dull"])):
        for number in range(EACH):
            filler = rng.choice(["the", "story", "was", "really", "an", "actor"], 8).tolist()
            filler.insert(int(rng.integers(8)), str(rng.choice(words)))
            rows.append({"id": f"{label}{number}", "review": " ".join(filler), "label": label})
    return pd.DataFrame(rows).sample(frac=1.0, random_state=seed)


def test_texts(tmp_path: Path) -> None:
    reviews(1).to_csv(tmp_path / "first.csv", index=False)
    root = tmp_path / "w"
    assert initialise(root, tmp_path / "first.csv", "label").first.rows == 2 * EACH
    assert schema.load(root / "schema.toml").kind == "text"
    second = reviews(2)
    second.iloc[4, 1] = " "
    second.to_csv(tmp_path / "second.csv", index=False)
    arrived = lives(root, tmp_path / "second.csv", "lstm")
    assert arrived.refused_rows == 1
    assert arrived.reasons == ("row 5: review is missing",)
    asked = pd.DataFrame({"review": ["the story was superb", "an awful actor, really"]})
    assert served(root).predict(asked).tolist() == ["good", "bad"]


def days(seed: int) -> pd.DataFrame:
    """Temperatures of cold days and of warm ones, of different lengths."""
    rng = np.random.default_rng(seed)
    series = [
        rng.normal(mean, 1.0, rng.integers(8, 20)).round(3)
        for mean in (-2.0, 2.0)
        for _ in range(EACH)
    ]
    frame = pd.DataFrame({"degrees": series, "warm": np.repeat([0, 1], EACH)})
    return frame.sample(frac=1.0, random_state=seed)


def test_sequences(tmp_path: Path) -> None:
    days(1).to_parquet(tmp_path / "first.parquet")
    root = tmp_path / "w"
    assert initialise(root, tmp_path / "first.parquet", "warm").first.rows == 2 * EACH
    assert schema.load(root / "schema.toml").kind == "sequence"
    second = days(2)
    second["degrees"] = [" ".join(map(str, one)) for one in second["degrees"]]
    second.iloc[3, 0] = "1.5 oops"
    second.to_csv(tmp_path / "second.csv", index=False)
    arrived = lives(root, tmp_path / "second.csv", "lstm")
    assert arrived.refused_rows == 1
    assert "'oops', no number" in arrived.reasons[0]
    model, asked = served(root), days(3)
    assert np.mean(model.predict(asked[["degrees"]]) == asked["warm"]) > 0.8
    as_lists = pd.DataFrame({"degrees": [one.tolist() for one in asked["degrees"]]})
    assert (model.predict(as_lists) == model.predict(asked[["degrees"]])).all()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    initialise(root, picture_kit.folder(tmp_path / "first", picture_kit.files(20)))
    return root


def test_archives_and_arrays_are_ingested_like_folders(images: Path, tmp_path: Path) -> None:
    content = picture_kit.files(20, seed=5)
    folder = picture_kit.folder(tmp_path / "folder", content)
    picture_kit.archive(images / "inbox" / "a.zip", content)
    picture_kit.arrays(images / "inbox" / "b.npz", 20, seed=5)
    first, second = ingest.fn(str(images)).files
    assert (first.outcome, second.outcome) == ("ingested", "known")
    assert first.experience == second.experience  # the pixels are the same
    (third,) = ingest.fn(str(images), [str(folder)]).files
    assert third.outcome == "known"
    assert list((images / "inbox").iterdir()) == [images / "inbox" / ".gitkeep"]
    assert folder.is_dir()
    sizes = schema.load(images / "schema.toml").columns["image"]
    assert (sizes.height, sizes.width) == (8, 8)  # type: ignore[union-attr]  # of images


def test_links_in_the_inbox_are_refused_at_every_level(images: Path, tmp_path: Path) -> None:
    secret = picture_kit.folder(tmp_path / "secret", picture_kit.files(20, seed=7))
    (images / "inbox" / "linked").symlink_to(secret)
    batch = picture_kit.folder(images / "inbox" / "batch", picture_kit.files(20, seed=6))
    (batch / "dark" / "zz.png").symlink_to(secret / "dark" / "001.png")
    batch_, linked = ingest.fn(str(images)).files
    assert (batch_.file, batch_.outcome, batch_.refused_rows) == ("batch", "ingested", 1)
    assert "is a link" in batch_.reasons[0]
    assert (linked.outcome, linked.reasons) == (
        "quarantined", ("is a link; the inbox takes files alone",),
    )  # fmt: skip
    stolen = (secret / "dark" / "001.png").read_bytes()
    kept = [path for path in (images / "data").rglob("*") if path.is_file()]
    assert kept
    assert not any(stolen in path.read_bytes() for path in kept)
    assert (secret / "dark" / "001.png").exists()
    assert list((images / "inbox").iterdir()) == [images / "inbox" / ".gitkeep"]


def test_what_is_no_folder_of_classes_is_kept_whole(images: Path) -> None:
    batch = images / "inbox" / "batch"
    picture_kit.folder(batch, {"1.png": b"1", "2.png": b"2"})
    (images / "inbox" / "empty").mkdir()  # somebody may be about to fill it
    (images / "inbox" / "table.csv").write_text("a,label\n1,dark\n")
    folder, table = ingest.fn(str(images)).files
    assert folder.outcome == table.outcome == "quarantined"
    assert "has no folder of a class in it" in folder.reasons[0]
    assert "neither a folder of images by class" in table.reasons[0]
    with zipfile.ZipFile(images / str(folder.folder) / "original.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "1.png": b"1", "2.png": b"2",
        }  # fmt: skip
    assert not batch.exists()
    assert (images / "inbox" / "empty").is_dir()


def test_what_arrives_while_a_folder_is_ingested_is_not_lost(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perdure.flows import accepting

    batch = picture_kit.folder(images / "inbox" / "batch", picture_kit.files(20, seed=6))
    usual = accepting.accept

    def slow(*arguments: Any) -> bool:
        done = usual(*arguments)
        (batch / "dark" / "late.png").write_bytes(picture_kit.png(picture_kit.pixels("dark", 1)))
        return done

    monkeypatch.setattr(accepting, "accept", slow)
    ingest.fn(str(images))
    assert (batch / "dark" / "late.png").exists()
    assert (batch / "dark" / "001.png").exists()


def test_large_images_keep_fewer_evaluation_rows(tmp_path: Path) -> None:
    picture = picture_kit.png(np.zeros((224, 224, 3), np.uint8))
    content = {f"{label}/{n}.png": picture for label in "ab" for n in range(20)}
    initialise(tmp_path / "w", picture_kit.folder(tmp_path / "d", content))
    found = config.read(tmp_path / "w").config
    assert found.evaluation.max_rows == 2**28 // (224 * 224 * 3)
    assert found.model.factory == "cnn"
    assert json.dumps(found.data.target) == '"label"'
