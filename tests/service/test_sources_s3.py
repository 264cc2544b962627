"""`trigger.folders` on S3, over HTTP: moto's server, asked by s3fs as a real one is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core import set_initial_no_auth_action_count
from moto.server import ThreadedMotoServer

from perdure import config
from perdure.config import Workspace
from perdure.service.sources import SECOND_LOOK_S, FolderElsewhere
from tests.service.object_store import environment, serve

BUCKET, URL = "bucket", "s3://bucket/new"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
IMAGES = """\
[target]
name = "class"
task = "classification"
classes = ["cat", "dog"]
[columns.image]
kind = "image"
height = 3
width = 3
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[ThreadedMotoServer]:
    server = serve()
    yield server
    server.stop()


@pytest.fixture
def store(s3: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of an empty bucket; the environment names endpoint and keys."""
    for name, value in environment(s3, tmp_path, KEY, SECRET).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for one in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        client.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "perdure.toml").write_text(
        '[model]\nname = "small"\n[data]\ntarget = "kind"\ntask = "classification"\n'
        f'[trigger]\npoll = 60\nfolders = ["{URL}"]\n'
    )
    return config.read(root)


@pytest.fixture
def folder(workspace: Workspace, store: Any) -> FolderElsewhere:
    return FolderElsewhere(lambda: workspace, URL)


def put(store: Any, name: str, text: str) -> None:
    store.put_object(Bucket=BUCKET, Key=f"new/{name}", Body=text.encode())


def taken(ws: Workspace) -> dict[str, str]:
    """What came into the inbox, hidden files too; as an ingest, it leaves nothing behind."""
    found = {}
    for path in sorted(ws.inbox.iterdir()) if ws.inbox.exists() else []:
        found[path.name] = path.read_text()
        path.unlink()
    return found


def test_each_object_comes_once(folder: FolderElsewhere, store: Any, workspace: Workspace) -> None:
    expected = {f"{number:04}.csv": f"{number}\n" for number in range(30)}
    for name, text in expected.items():
        put(store, name, text)
    put(store, ".hidden.csv", "1\n")
    put(store, "below/b.csv", "1\n")
    put(store, "", "")  # as S3's own page makes a folder
    assert folder.poll() == SECOND_LOOK_S
    assert taken(workspace) == {}
    assert folder.poll() >= 60
    assert taken(workspace) == expected
    folder.poll()
    again = FolderElsewhere(lambda: workspace, URL)  # another process
    again.poll()
    again.poll()
    assert taken(workspace) == {}


def test_an_upload_in_parts_is_seen_when_it_is_whole(
    folder: FolderElsewhere, store: Any, workspace: Workspace
) -> None:
    put(store, "a.csv", "1\n")
    key = {"Bucket": BUCKET, "Key": "new/big.csv"}
    upload = store.create_multipart_upload(**key)["UploadId"]
    size = 5 * 2**20  # S3's least
    parts = []
    for number, body in enumerate((b"1" * size, b"2\n"), 1):
        result = store.upload_part(**key, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"ETag": result["ETag"], "PartNumber": number})
        folder.poll()
    assert set(taken(workspace)) == {"a.csv"}
    store.complete_multipart_upload(**key, UploadId=upload, MultipartUpload={"Parts": parts})
    folder.poll()
    folder.poll()
    [(name, text)] = taken(workspace).items()
    assert (name, len(text), text[-3:]) == ("big.csv", size + 2, "12\n")


def test_an_object_that_is_written_over_comes_again(
    folder: FolderElsewhere, store: Any, workspace: Workspace
) -> None:
    for text in ("1\n", "2\n"):  # of the same size
        put(store, "a.csv", text)
        folder.poll()
        folder.poll()
        assert taken(workspace) == {"a.csv": text}


def test_written_over_while_it_is_read_it_comes_whole_the_next_time(
    folder: FolderElsewhere, store: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    get_file, left = S3FileSystem._get_file, [b"2\n"]

    async def slow(self: Any, *arguments: Any, **more: Any) -> None:
        await get_file(self, *arguments, **more)
        if left:
            store.put_object(Bucket=BUCKET, Key="new/a.csv", Body=left.pop())

    monkeypatch.setattr(S3FileSystem, "_get_file", slow)
    put(store, "a.csv", "1\n")
    folder.poll()
    assert left
    folder.poll()
    assert not left
    assert taken(workspace) == {}
    folder.poll()
    folder.poll()
    assert taken(workspace) == {"a.csv": "2\n"}


def test_an_endpoint_that_is_away_is_asked_again(
    folder: FolderElsewhere,
    store: Any,
    s3: ThreadedMotoServer,
    workspace: Workspace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    put(store, "a.csv", "1\n")
    folder.poll()
    _, port = s3.get_host_and_port()
    s3.stop()
    assert s3._server is not None
    s3._server.server_close()
    assert [folder.poll(), folder.poll()] == [120, 240]
    vars(s3).update(_port=port)
    s3.start()
    assert folder.poll() >= 60
    assert taken(workspace) == {"a.csv": "1\n"}
    messages = [r.message for r in caplog.records if r.name == "perdure"]
    assert len(messages) == 3
    assert messages[0].startswith(f"{URL} cannot be read, and is tried again: ")
    assert "127.0.0.1" in messages[0]
    assert messages[1:] == [f"a.csv came from {URL}.", f"{URL} can be read again."]


def test_wrong_keys_are_said_and_right_ones_are_read_without_a_restart(
    folder: FolderElsewhere,
    store: Any,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    put(store, "a.csv", "1\n")
    folder.poll()
    iam = boto3.client("iam")
    iam.create_user(UserName="ada")
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=policy)
    right = iam.create_access_key(UserName="ada")["AccessKey"]

    @set_initial_no_auth_action_count(0)  # moto asks for keys, as S3 does
    def polls() -> None:
        assert folder.poll() == 120
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", right["AccessKeyId"])
        assert folder.poll() == 240  # with a secret that is not this key's
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", right["SecretAccessKey"])
        folder.poll()
        folder.poll()

    polls()
    assert taken(workspace) == {"a.csv": "1\n"}
    messages = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(messages) == 1
    assert "does not exist in our records" in messages[0]
    for secret in (SECRET, right["SecretAccessKey"]):
        assert secret not in caplog.text


def test_a_folder_of_images_comes_whole_and_no_name_in_it_leads_out(
    folder: FolderElsewhere, store: Any, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.schema.write_text(IMAGES)
    put(store, "batch[1]/cat/1*.png", "1")
    put(store, "batch[1]/dog/2.png", "2")
    put(store, "bad/cat/1.png", "1")
    put(store, "bad/../../perdure.toml", "evil")
    before = (workspace.root / "perdure.toml").read_text()
    folder.poll()
    folder.poll()
    place = workspace.inbox / "batch[1]"
    found = {str(p.relative_to(place)): p.read_text() for p in place.rglob("*.png")}
    assert found == {"cat/1*.png": "1", "dog/2.png": "2"}
    assert [path.name for path in workspace.inbox.iterdir()] == ["batch[1]"]
    assert (workspace.root / "perdure.toml").read_text() == before
    [result] = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "bad of s3://bucket/new cannot be read" in result
