"""Which GPUs there are, and who has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.errors import Fault, LockHeld, UsageError
from perdure.flows.service import gpus

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-e5d5ba0d-6d33-2b2c-524d-9e3d8d2b8a88)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
"""


def test_a_divided_gpu_counts_by_its_parts() -> None:
    assert list(gpus.read_list(LISTED.splitlines()).values()) == [
        "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
    ]
    assert gpus.read_list(["No devices found."]) == {}


@pytest.mark.parametrize(
    ("chosen", "inherited", "found"),
    [
        (None, "2,3", ("2", "3")),
        (None, "GPU-1a, MIG-2b", ("GPU-1a", "MIG-2b")),
        (None, "1,-1,0", ("1",)),
        (None, "1,1", ("1",)),
        ("3", "2,3", ("3",)),
        ("0,1", None, ("0", "1")),
    ],
)
def test_what_is_visible(chosen: str | None, inherited: str | None, found: tuple[str, ...]) -> None:
    environment = {} if inherited is None else {gpus.VISIBLE: inherited}
    assert gpus.visible(chosen, environment) == found


def test_none_and_hidden_ones_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="no GPU is visible"):
        gpus.visible(None, {gpus.VISIBLE: ""})
    with pytest.raises(UsageError, match="does not show GPU 0"):
        gpus.visible("0,2", {gpus.VISIBLE: "2,3"})


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(gpus.LOCKS, str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_one_worker_has_a_gpu_alone(locks: Path) -> None:
    with gpus.hold("0"):
        with pytest.raises(LockHeld, match="GPU 0 is taken"), gpus.hold("0"):
            pass
        with pytest.raises(LockHeld), gpus.hold("0", 2):
            pass
        with gpus.hold("1"):
            pass
    with gpus.hold("0"):
        assert locks.is_dir()


@pytest.mark.usefixtures("locks")
def test_some_share_one_and_no_more() -> None:
    with gpus.hold("0", 2), gpus.hold("0", 2):
        with pytest.raises(LockHeld, match="share it"), gpus.hold("0", 2):
            pass
        with pytest.raises(LockHeld), gpus.hold("0"):
            pass
    with gpus.hold("0"):
        pass


def test_a_place_that_is_a_link_is_refused(locks: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    locks.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault, match="not a folder of this user"), gpus.hold("0"):
        pass
