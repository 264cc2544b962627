"""The processes of one learning step: started, watched and ended by the flow run's own.

They meet in a folder that is this user's alone, and talk over loopback alone. The first of them
writes the learner there, and this process takes it over once all have ended well. If one dies, the
others are killed: nothing of the step is left, and the learner is as it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import safetensors.torch

from perdure.config import Config
from perdure.errors import Fault, PerdureError
from perdure.progress import Advance, track
from perdure.records import Epoch, Trained
from perdure.strategies.learner.learner import Learner
from perdure.strategies.parallel import exchange
from perdure.strategies.parallel.exchange import Rows

MODULE = "perdure.strategies.parallel.rank"
LOOK_S = 0.1
"""How often it is looked whether one has died."""
LAST_WORDS = 300
"""Characters of what a process wrote last, which an error shows."""


def learn(
    learner: Learner,
    experience_id: str,
    rows: Rows,
    config: Config,
    size: int,
    gpus: bool,
    profile: Path | None = None,
    place: Path | None = None,
) -> Trained:
    """Learn an experience in so many processes; the learner is changed when all has gone well.

    Args:
        learner: See `engine.learn`.
        experience_id: Likewise.
        rows: Its rows, encoded.
        config: `[model]`, `[data]` and `[training]` count.
        size: How many processes there are.
        gpus: Whether each has a GPU of its own.
        profile: See `engine.learn`; of the first process.
        place: Where the folder is made in which they meet; None: among temporary files.

    Raises:
        Fault: One of them died, or failed; or what `engine.learn` raises in one of them.
    """
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=place) as name:
        folder = Path(name)
        learner.save(folder / exchange.BEFORE)
        safetensors.torch.save_file(rows.tensors(), folder / exchange.ROWS)
        del rows
        task = exchange.Task(
            experience=experience_id,
            size=size,
            gpus=gpus,
            root=str(learner.root.absolute()),
            profile=str(profile.absolute()) if profile else None,
            config=exchange.settings(config),
        )
        (folder / exchange.TASK).write_text(json.dumps(dataclasses.asdict(task)))
        _run(folder, size)
        after = Learner.load(folder / exchange.AFTER, config, learner.root)
        value = json.loads((folder / exchange.TRAINED).read_text())
        trained = Trained(**{**value, "epochs": tuple(Epoch(**one) for one in value["epochs"])})
    for field in dataclasses.fields(learner):
        setattr(learner, field.name, getattr(after, field.name))
    return trained


def _run(folder: Path, size: int) -> None:
    with ExitStack() as held:
        reading, writing = os.pipe()
        held.callback(os.close, reading)
        try:
            ranks = [
                held.enter_context(_started(folder, rank, size, writing)) for rank in range(size)
            ]
        finally:
            os.close(writing)
        shown = _Progress(reading, held)
        while any(rank.poll() is None for rank in ranks):
            if any(rank.poll() not in (None, 0) for rank in ranks):
                break
            shown.wait(LOOK_S)
        # The process that died first is seen to be dead now: the others fail because of it.
        codes = {number: code for number, rank in enumerate(ranks) if (code := rank.poll())}
        if codes:
            raise _failure(folder, codes, size)


@contextmanager
def _started(folder: Path, rank: int, size: int, writing: int) -> Iterator[subprocess.Popen[bytes]]:
    """One process; killed at the end where it has not ended by itself."""
    with (folder / exchange.printed(rank)).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE, str(folder), str(rank), str(writing)],
            stdin=subprocess.PIPE,  # it ends with this process, see `perdure.parent`
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            env={**os.environ, **environment(rank, size)},
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def environment(rank: int, size: int) -> dict[str, str]:
    """What a process finds in its environment: as torchrun has it, and loopback alone."""
    loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }


class _Progress:
    """What the first process says of how far it is, shown here.

    Args:
        reading: The end of the pipe that is read.
        held: Where a bar is open.
    """

    def __init__(self, reading: int, held: ExitStack) -> None:
        self._reading, self._held = reading, held
        self._text, self._open = b"", True
        self._advance: Advance = lambda _done: None

    def wait(self, seconds: float) -> None:
        """Show what it reports within a time."""
        if not self._open:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([self._reading], [], [], seconds)
        if not ready:
            return
        data = os.read(self._reading, 2**16)
        self._open = bool(data)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            value = json.loads(line)
            if isinstance(value, int):
                self._advance(value)
            else:
                self._advance = self._held.enter_context(track(*value))


def _failure(folder: Path, codes: Mapping[int, int], size: int) -> PerdureError:
    """What to say of processes that ended badly: a death first, then what one of them found."""
    hint = "nothing of it was kept: perdure retrain goes on from the last experience"
    # A process that loses another may abort.
    for rank, code in sorted(codes.items(), key=lambda one: one[1] == -signal.SIGABRT):
        if code < 0:
            return Fault(
                f"process {rank} of {size}, which learned together, was ended by "
                f"{signal.Signals(-code).name}",
                hint=hint,
            )
    for rank in codes:
        try:
            return exchange.raised(json.loads((folder / exchange.failed(rank)).read_text()))
        except FileNotFoundError:
            continue
    rank, code = next(iter(codes.items()))
    text = (folder / exchange.printed(rank)).read_text(errors="replace").strip()
    return Fault(
        f"process {rank} of {size}, which learned together, ended with {code}: "
        f"{text[-LAST_WORDS:] or 'it printed nothing'}",
        hint=hint,
    )
