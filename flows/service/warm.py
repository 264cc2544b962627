"""A process with everything imported that a retraining needs, of which flow runs are forks.

Importing torch, Avalanche, MLflow and DVC takes ten seconds of a core, and is the same for every
run. This process does it once. Whoever would start `python -m MODULE` starts `warm_client.py`
instead, which hands over its environment, working directory, streams and arguments, waits for the
fork to end, and ends likewise. Where nobody is warm, the client becomes `python -m MODULE`.

    python -P -m perdure.flows.service.warm FOLDER [MODULE...]

imports the modules, by default those of a retraining, and listens at `FOLDER/warm.sock` until its
standard input ends; its forks end with it. It has one thread, and touches no accelerator, so that
a fork may do what a new process may. Linux only: forking without exec is unsafe on macOS.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import gc
import importlib
import json
import math
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

SOCKET, PROBE = "warm.sock", "warm.probe"

MODULES = (
    "prefect.flow_engine",
    "perdure.flows.retrain",
    "perdure.flows.rollback",
    "perdure.flows.promote",
    "perdure.flows.evaluate",
    "perdure.tasks.registry.changes",
    "perdure.tasks.registry.versions",
    "perdure.strategies.training.engine",
    "perdure.strategies.export.graph",
    *(f"perdure.strategies.{name}" for name in ("agem", "derpp", "gdumb", "gem", "icarl")),
    "torch.export._trace",
    "torch._inductor.ir",
    "sklearn.metrics",
    "mlflow.tracking.client",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "dvc.repo",
    "dvc.fs",
    "dvc.scm",
    "git",
    "networkx",
    "pandera.pandas",
    "pandera.backends.pandas.builtin_checks",
    "pyarrow.dataset",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)
"""What a retraining imports, and what of it takes long. One that is missing costs time, no more."""

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""

ENDING = (signal.SIGTERM, signal.SIGINT)

GOODBYE_S = 8.0
"""After SIGTERM, how long forks may take to end: it is for their clients to end them."""
LOOK_S = 0.2

LONGEST = 2**20
"""Bytes of a request, at most."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What ends by itself, so that another try is worth it: the disk is full."""


@dataclass
class Request:
    """A program to be run by a fork."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    streams: list[int]
    """Descriptors of standard input, output and error."""

    def run(self) -> NoReturn:
        """Become that program: in a fork, and only once."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        _as_if_new()
        sys.argv = [self.module, *self.arguments]
        code: object = 0
        try:
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except BaseException:  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            code = 1
        if isinstance(code, str):
            print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        leave(code if isinstance(code, int) else int(code is not None))


def leave(code: int) -> NoReturn:
    """End as forks of `multiprocessing` do: all that was registered is done, nothing taken apart.

    That would take half a second or more, and touch the pages that forks share.
    """
    # Not public; `multiprocessing` calls them likewise.
    vars(threading)["_shutdown"]()
    vars(atexit)["_run_exitfuncs"]()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _as_if_new() -> None:
    """Undo what makes a fork different from a process that was started by itself."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    import numpy as np
    from prefect.context import refresh_global_settings_context

    np.random.seed()  # else every fork would draw the same numbers
    refresh_global_settings_context()  # they are read from the environment


@dataclass
class Server:
    """Takes requests, forks, and tells each client how its fork ended."""

    listener: socket.socket
    runs: dict[int, socket.socket] = field(default_factory=dict)
    """Clients by the process id of their fork."""

    def serve(self) -> Request | None:
        """Serve until standard input ends; after SIGTERM, until the last fork has ended.

        Returns:
            None, in this process; in a fork what it is to run.
        """
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            for source in (0, woken, self.listener):
                selector.register(source, selectors.EVENT_READ)
            leaving = math.inf
            while time.monotonic() < leaving and (self.runs or leaving == math.inf):
                for key, _ in selector.select(None if leaving == math.inf else LOOK_S):
                    ready = key.fileobj
                    if ready == 0:
                        if not os.read(0, 1024):
                            return None
                    elif ready == woken:
                        if signal.SIGTERM in os.read(woken, 1024):
                            leaving = min(leaving, time.monotonic() + GOODBYE_S)
                        self._reap(selector)
                    elif ready is self.listener:
                        request = self._accept(selector)
                        if request is not None:
                            signal.set_wakeup_fd(-1)
                            self._leave(woken, wakes)
                            return request
                    elif isinstance(ready, socket.socket):
                        self._heard(selector, ready)
        return None

    def _accept(self, selector: selectors.BaseSelector) -> Request | None:
        """Fork for a client. A request in the fork, None in this process.

        Whatever fails, the forks of others go on, and this client's run starts cold.
        """
        try:
            client, _ = self.listener.accept()
        except OSError as error:  # too many files are open: not again at once
            print(f"nobody can be heard: {error}", file=sys.stderr)  # noqa: T201 - its log
            time.sleep(LOOK_S)
            return None
        try:
            request = _received(client)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _refuse(client, error)
            return None
        me = os.getpid()
        # Until `_as_if_new` a fork would swallow what ends it, as this process does.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid = os.fork()
        except OSError as error:  # of memory or of processes there are no more
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            _close(request.streams)
            _refuse(client, error)
            return None
        if pid == 0:
            _end_with(me)
            client.close()
            return request
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        _close(request.streams)
        self.runs[pid] = client
        selector.register(client, selectors.EVENT_READ)
        return None

    def _heard(self, selector: selectors.BaseSelector, client: socket.socket) -> None:
        """A client passes signals on, one byte each; at its end its fork is killed."""
        pid = next(pid for pid, one in self.runs.items() if one is client)
        try:
            said = client.recv(64)
        except OSError:
            said = b""
        for number in said or (signal.SIGKILL,):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if not said:
            selector.unregister(client)

    def _reap(self, selector: selectors.BaseSelector) -> None:
        for pid, status in _ended():
            client = self.runs.pop(pid, None)
            if client is None:
                continue
            with contextlib.suppress(OSError):
                client.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())
            with contextlib.suppress(KeyError):
                selector.unregister(client)
            client.close()

    def _leave(self, *descriptors: int) -> None:
        """In a fork: let go of what is the server's."""
        self.listener.close()
        for client in self.runs.values():
            client.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def end(self) -> None:
        """Kill the forks."""
        for pid in self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """Have the kernel kill this fork when its parent dies, however that dies."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it has died already
        os._exit(1)


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _received(client: socket.socket) -> Request:
    client.settimeout(5.0)
    text, streams, _, _ = socket.recv_fds(client, LONGEST, 3)
    try:
        while not text.endswith(b"\n"):
            more = client.recv(LONGEST)
            if not more or len(text) > LONGEST:
                raise ValueError("it ends early, or is too long")
            text += more
        client.settimeout(None)
        said: dict[str, Any] = json.loads(text)
        if len(streams) != 3:
            raise ValueError("it came without standard streams")
        return Request(
            module=str(said["module"]),
            arguments=[str(one) for one in said["arguments"]],
            environment={str(k): str(v) for k, v in said["environment"].items()},
            folder=str(said["folder"]),
            streams=streams,
        )
    except BaseException:
        _close(streams)
        raise


def _refuse(client: socket.socket, error: Exception) -> None:
    """Tell a client that nothing was started: it starts what it wants itself."""
    print(f"refused a request: {error}", file=sys.stderr)  # noqa: T201 - its log
    with contextlib.suppress(OSError):
        client.send(json.dumps({"refused": str(error)}).encode())
    client.close()


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def listen(folder: Path) -> socket.socket:
    """The socket of a folder, for this account alone; one that a killed process left is replaced.

    Raises:
        OSError: There can be none.
    """
    listener = _bound(folder, SOCKET)
    listener.listen()
    return listener


def probe(folder: Path) -> None:
    """Make a socket in a folder, and remove it.

    Raises:
        OSError: There can be none, as on file systems of Windows.
    """
    _bound(folder, PROBE).close()
    (folder / PROBE).unlink(missing_ok=True)


def _bound(folder: Path, name: str) -> socket.socket:
    """A socket in a folder, to which nobody listens yet.

    Its address may be longer than the 107 bytes that a socket's may be, so it is named by way of
    the folder's descriptor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        bound.bind(f"/proc/self/fd/{descriptor}/{name}")
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
        os.close(descriptor)
    return bound


def main() -> None:
    """Import everything, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor
    folder, *modules = sys.argv[1:]
    try:
        probe(Path(folder))  # what follows takes ten seconds of a core
    except OSError as error:
        _stay_cold(error)
    for module in modules or MODULES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"not warm: {error}", file=sys.stderr)  # noqa: T201 - its log
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page that it looks at
    try:
        server = Server(listen(Path(folder)))
    except OSError as error:
        _stay_cold(error)
    me = os.getpid()
    request = None
    try:
        request = server.serve()
    finally:
        if os.getpid() == me:
            server.end()
            (Path(folder) / SOCKET).unlink(missing_ok=True)
    if request is not None:
        request.run()
    leave(0)


def _stay_cold(error: OSError) -> NoReturn:
    """Where there can be no socket, runs start cold; another try would end likewise."""
    if error.errno in FULL:
        raise error
    print(f"not warm: {error}", file=sys.stderr)  # noqa: T201 - its log
    while os.read(0, 1024):
        pass
    leave(0)


if __name__ == "__main__":
    main()
