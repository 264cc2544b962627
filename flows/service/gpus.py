"""Which GPUs there are, and that no two workers of this machine's user have the same one.

Asked of `nvidia-smi`, for importing torch would cost a process that lives for months 300 MB and
a context on every GPU.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from perdure.errors import Fault, LockHeld, UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = "PERDURE_GPU_LOCKS"
"""Environment variable: another folder for the locks than that of the machine's user."""

ASK_S = 20.0
"""A driver that has to wake the GPUs first takes some seconds."""

_LISTED = re.compile(r"^\s*(GPU (?P<index>\d+)|MIG \S+\s+Device\s+\d+):.*\(UUID: (?P<uuid>\S+)\)")


def visible(chosen: str | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs to work on, as `CUDA_VISIBLE_DEVICES` names them.

    Args:
        chosen: Those that were asked for, separated by commas; None: all that are visible.
        environment: Whose `CUDA_VISIBLE_DEVICES` says what is visible.

    Raises:
        UsageError: There is none, or one that was asked for is not visible.
    """
    inherited = _names(environment[VISIBLE]) if VISIBLE in environment else None
    if chosen is not None:
        wanted = _names(chosen)
        if inherited is not None and (hidden := [one for one in wanted if one not in inherited]):
            raise UsageError(
                f"{VISIBLE} = {environment[VISIBLE]} does not show GPU {', '.join(hidden)}",
                hint=f"--gpus {environment[VISIBLE]}",
            )
    else:
        wanted = inherited if inherited is not None else tuple(present().values())
    if not wanted:
        raise UsageError(
            "no GPU is visible on this machine",
            hint="perdure worker --pool cpu, or look at nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    return tuple(dict.fromkeys(wanted))


def _names(text: str) -> tuple[str, ...]:
    """As CUDA reads it: what stands behind the first -1 does not count."""
    found: list[str] = []
    for one in (part.strip() for part in text.split(",")):
        if one.startswith("-") or one in ("", "NoDevFiles"):
            break
        found.append(one)
    return tuple(found)


def present() -> dict[str, str]:
    """What this machine has: index, or for a part of a GPU its UUID, to UUID."""
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return read_list(said.splitlines())


def read_list(lines: Sequence[str]) -> dict[str, str]:
    """What `nvidia-smi -L` says. A GPU that is divided (MIG) counts by its parts alone."""
    found: dict[str, str] = {}
    whole: str | None = None
    for line in lines:
        if (match := _LISTED.match(line)) is None:
            continue
        if match["index"] is not None:
            whole = match["index"]
            found[whole] = match["uuid"]
        else:
            found.pop(whole or "", None)
            found[match["uuid"]] = match["uuid"]
    return found


@contextmanager
def hold(gpu: str | None, per_gpu: int = 1) -> Iterator[None]:
    """Keep a GPU for one worker, or a share of it for one of several.

    Args:
        gpu: As `CUDA_VISIBLE_DEVICES` names it; None: no GPU is needed.
        per_gpu: How many workers may share it.

    Raises:
        LockHeld: Others have it.
    """
    if gpu is None:
        yield
        return
    place, name = _folder(), _file_name(present().get(gpu, gpu))
    with ExitStack() as held:
        mode = fcntl.LOCK_EX if per_gpu == 1 else fcntl.LOCK_SH
        if not _lock(held, place / f"{name}.lock", mode):
            raise _taken(gpu, per_gpu)
        shares = (place / f"{name}.{number}.lock" for number in range(per_gpu))
        if not any(_lock(held, share, fcntl.LOCK_EX) for share in shares):
            raise _taken(gpu, per_gpu)
        yield


def _lock(held: ExitStack, path: Path, mode: int) -> bool:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    held.callback(os.close, file)
    return True


def _taken(gpu: str, per_gpu: int) -> LockHeld:
    how = "has it alone" if per_gpu == 1 else f"share it, or one has it alone (--per-gpu {per_gpu})"
    others = "another worker" if per_gpu == 1 else "other workers"
    return LockHeld(
        f"GPU {gpu} is taken: {others} of this user {how}",
        hint="perdure worker --pool gpu --gpus OTHERS, or the same --per-gpu for all",
    )


def _folder() -> Path:
    """The same place for every session of a user on a machine, and nobody else's."""
    if named := os.environ.get(LOCKS):
        place = Path(named)
    else:  # not $TMPDIR or $XDG_RUNTIME_DIR, which differ between a login and a service
        place = Path("/tmp") / f"perdure-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    facts = place.lstat()
    if not place.is_dir() or place.is_symlink() or facts.st_uid != os.getuid():
        raise Fault(
            f"{place} is not a folder of this user's", hint=f"set {LOCKS} to a folder that is"
        )
    return place


def _file_name(gpu: str) -> str:
    return "gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", gpu)
