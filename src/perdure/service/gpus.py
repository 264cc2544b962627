"""Which GPUs there are, and that no two flow runs of this machine have the same one.

Asked of `nvidia-smi`, for importing torch would cost a process that lives for months 300 MB and
a context on every GPU.

Who has a GPU has bound addresses of those Unix sockets that no files stand for ("abstract" in
unix(7)). The kernel frees them when their holder dies, and a login, a service with a /tmp of its
own (`PrivateTmp=`) and other users all meet there. No folder is like that, and what is cleared by
age or at logout (/tmp, /dev/shm, /run/user) does not last for months.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from perdure.config.unattended import MOST_PER_GPU
from perdure.errors import LockHeld, UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = "PERDURE_GPU_LOCKS"
"""Environment variable: a word that makes other locks of it than those of the machine."""

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
        output = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return read_list(output.splitlines())


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
    """Keep a GPU for one flow run, or a share of it for one of several.

    Args:
        gpu: As `CUDA_VISIBLE_DEVICES` names it; None: no GPU is needed.
        per_gpu: How many may share it.

    Raises:
        LockHeld: Others have it.
    """
    if gpu is None or sys.platform != "linux":  # CUDA is nowhere else
        yield
        return
    shares = _shares(_uuid(gpu))
    with ExitStack() as held:
        if per_gpu == 1:  # alone: all shares
            taken = all(_bind(held, share) for share in shares)
        else:
            taken = any(_bind(held, share) for share in shares[:per_gpu])
        if not taken:
            raise _taken(gpu, per_gpu)
        yield


class Shares:
    """The GPUs of one worker, of which each of its flow runs gets one, or several.

    Args:
        names: As `CUDA_VISIBLE_DEVICES` names them.
        per_gpu: How many runs of this machine may share one, of whatever worker.
        own: How many of them are this worker's.
        together: How many GPUs a flow run gets, for processes that learn together.
    """

    def __init__(self, names: Sequence[str], per_gpu: int, own: int = 1, together: int = 1) -> None:
        self._per_gpu = per_gpu
        self._own = own
        self._together = together
        self._taken = Counter(dict.fromkeys(names, 0))

    @property
    def runs(self) -> int:
        """How many flow runs the worker has at most."""
        return self._own * (len(self._taken) // self._together)

    def lacking(self) -> str | None:
        """Why no other run can have a GPU; None: one is free."""
        try:
            with self.take():
                return None
        except LockHeld as error:
            return f"{error.message} → {error.hint}"

    @contextmanager
    def take(self) -> Iterator[str]:
        """Keep as many as a flow run gets: of those that are free, the ones with the fewest runs.

        Returns:
            As `CUDA_VISIBLE_DEVICES` names them, separated by commas.

        Raises:
            LockHeld: Others have too many of them.
        """
        with ExitStack() as held:
            chosen = self._keep(held)
            self._taken.update(chosen)
            held.callback(self._taken.subtract, chosen)
            yield ",".join(chosen)

    def _keep(self, held: ExitStack) -> list[str]:
        refused: LockHeld | None = None
        chosen: list[str] = []
        for gpu, taken in sorted(self._taken.items(), key=lambda one: one[1]):
            if taken < self._own:
                try:
                    held.enter_context(hold(gpu, self._per_gpu))
                except LockHeld as error:
                    refused = error
                else:
                    chosen.append(gpu)
                if len(chosen) == self._together:
                    return chosen
        raise refused or LockHeld("every GPU of this worker has its flow runs", hint="wait")


@functools.cache
def _uuid(gpu: str) -> str:
    """A GPU by its UUID, where the driver knows it; the driver is asked once."""
    return present().get(gpu, gpu)


def _shares(name: str) -> list[str]:
    """The addresses that stand for a GPU. `grep perdure-gpu /proc/net/unix` shows who has what."""
    scope = "/".join(filter(None, ["perdure-gpu", os.environ.get(LOCKS), name]))
    return [f"\0{scope}/{number}" for number in range(MOST_PER_GPU)]


def _bind(held: ExitStack, address: str) -> bool:
    one = socket.socket(socket.AF_UNIX)
    try:
        one.bind(address)
    except OSError as error:
        one.close()
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    held.enter_context(one)
    return True


def _taken(gpu: str, per_gpu: int) -> LockHeld:
    how = "has it alone" if per_gpu == 1 else f"share it, {per_gpu} at most, or one has it alone"
    others = "another flow run" if per_gpu == 1 else "other flow runs"
    return LockHeld(
        f"GPU {gpu} is taken: {others} of this machine {how}",
        hint="perdure worker --pool gpu --gpus OTHERS, or the same resources.per_gpu for all",
    )
