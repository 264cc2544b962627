"""Which GPUs there are, and who has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from perdure.config.unattended import MOST_PER_GPU
from perdure.errors import ConfigError, LockHeld, UsageError
from perdure.service import gpus, worker
from tests.service.conftest import MakeWorkspace

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


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no CUDA here")


@pytest.fixture(autouse=True)
def locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.LOCKS, uuid4().hex)


@on_linux
def test_one_flow_run_has_a_gpu_alone() -> None:
    with gpus.hold("0"):
        with pytest.raises(LockHeld, match="GPU 0 is taken"), gpus.hold("0"):
            pass
        with pytest.raises(LockHeld), gpus.hold("0", 2):
            pass
        with gpus.hold("1"):
            pass
    with gpus.hold("0"):
        pass


@on_linux
def test_some_share_one_and_no_more() -> None:
    with gpus.hold("0", 2), gpus.hold("0", 2):
        with pytest.raises(LockHeld, match="share it, 2 at most"), gpus.hold("0", 2):
            pass
        with pytest.raises(LockHeld), gpus.hold("0"):
            pass
    with gpus.hold("0", MOST_PER_GPU), pytest.raises(LockHeld), gpus.hold("0"):
        pass
    with gpus.hold("0"):
        pass


@on_linux
def test_each_flow_run_of_a_worker_gets_a_gpu_of_its_own() -> None:
    shares = gpus.Shares(("0", "1"), per_gpu=1)
    assert shares.runs == 2
    with shares.take() as first, shares.take() as second:
        assert {first, second} == {"0", "1"}
        with pytest.raises(LockHeld), shares.take():
            pass
    with gpus.hold("0"):
        assert shares.lacking() is None
        with shares.take() as only:
            assert only == "1"
        with gpus.hold("1"):
            assert "is taken" in str(shares.lacking())
    assert shares.lacking() is None


@on_linux
def test_a_flow_run_of_several_processes_gets_as_many_gpus_or_none() -> None:
    shares = gpus.Shares(("0", "1", "2", "3", "4"), per_gpu=1, together=2)
    assert shares.runs == 2
    with shares.take() as first, shares.take() as second:
        assert {len(one.split(",")) for one in (first, second)} == {2}
        assert len({*first.split(","), *second.split(",")}) == 4
        with pytest.raises(LockHeld), shares.take():
            pass
        (free,) = {"0", "1", "2", "3", "4"} - {*first.split(","), *second.split(",")}
        with gpus.hold(free):  # what is too few is not kept
            pass
    with gpus.hold("0"), gpus.hold("1"), gpus.hold("2"), gpus.hold("3"):
        assert "is taken" in str(shares.lacking())
    assert shares.lacking() is None


@on_linux
def test_a_gpu_is_shared_by_runs_of_one_worker_or_by_workspaces() -> None:
    ours = gpus.Shares(("0", "1"), per_gpu=2, own=2)  # perdure worker --per-gpu 2
    theirs = gpus.Shares(("0", "1"), per_gpu=2)  # resources.per_gpu = 2
    assert (ours.runs, theirs.runs) == (4, 2)
    with ours.take() as first, ours.take() as second:
        assert {first, second} == {"0", "1"}
        with theirs.take(), theirs.take():
            assert "share it, 2 at most" in str(ours.lacking())
        with ours.take(), ours.take():
            assert "share it, 2 at most" in str(theirs.lacking())


def test_what_a_worker_cannot_be_asked_for(make_workspace: MakeWorkspace) -> None:
    ws = make_workspace("most", f"[resources]\nper_gpu = {MOST_PER_GPU}")
    with pytest.raises(UsageError, match="16 shares at most"):
        worker.work(str(ws.root), "gpu", None, MOST_PER_GPU + 1)
    with pytest.raises(UsageError, match="belong to the pool gpu"):
        worker.work(str(ws.root), "cpu", "0", None)
    with pytest.raises(ConfigError, match="per_gpu"):
        make_workspace("more", f"[resources]\nper_gpu = {MOST_PER_GPU + 1}")


HOLD = """
import sys
from perdure.service import gpus
with gpus.hold(sys.argv[1]):
    print("has it")
"""


@on_linux
def test_a_service_with_a_tmp_of_its_own_and_a_login_do_not_both_have_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `PrivateTmp=yes` gives it, and without what a login has in its environment."""
    monkeypatch.delenv(gpus.LOCKS)
    gpu = f"GPU-{uuid4()}"
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mounts = "mount -t tmpfs tmpfs /tmp && "
    if any(Path(one).is_relative_to("/tmp") for one in (__file__, sys.executable)):
        pytest.skip("Perdure itself lies in /tmp")
    try:
        if subprocess.run([*own, f"{mounts} true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets no user have a file system of his own")
    except FileNotFoundError:
        pytest.skip("no unshare here")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "TMP"))}
    environment |= {"HOME": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    program = [*own, f'{mounts} exec "$@"', "sh", sys.executable, "-P", "-c", HOLD, gpu]

    def service() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program, env=environment, capture_output=True, text=True, check=False, cwd="/"
        )

    with gpus.hold(gpu):
        refused = service()
    assert refused.returncode != 0
    assert "is taken" in refused.stderr
    assert service().stdout == "has it\n"
