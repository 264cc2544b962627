"""What can go wrong, as one tree.

```
PerdureError
├── UsageError          2  wrong use: a missing argument, an unknown id
│   └── ConfigError     2  perdure.toml or schema.toml is wrong; every fault with its key
├── Refusal             3  a result, not a fault: data or a model was refused
│   ├── DataRefused     3  a file is not what the schema says
│   └── GateRefused     3  a gate refused
├── LockHeld            4  another process works on this model; nothing was changed
├── Unreachable         5  an outside system (MLflow, a DVC remote, Prefect) does not answer
└── Fault               1  everything else that Perdure knows how to name
    └── Corrupt         1  a file is not what its digest says; nothing is loaded from it
```

Every message says what, the value, the limit and the next command. The exit code of a
command is the `exit_code` of the error that ended it; `EXIT_CODES` is the one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

EXIT_CODES: dict[int, str] = {
    0: "done, or nothing to do",
    1: "a fault",
    2: "wrong use or wrong configuration",
    3: "refused: the data or the model did not pass",
    4: "another process holds the lock",
    5: "an outside system cannot be reached",
}


class PerdureError(Exception):
    """The root of the tree.

    Args:
        message: What is wrong, with the value and the limit; one sentence.
        hint: The command or the setting that mends it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  → {self.hint}"


class UsageError(PerdureError):
    """The command was called with arguments that cannot work."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file is wrong.

    Args:
        path: The file.
        faults: All faults found, each as `"key: what is wrong"`.
    """

    def __init__(self, path: str, faults: Sequence[str], *, hint: str | None = None) -> None:
        self.path = path
        self.faults = tuple(faults)
        count = len(self.faults)
        lines = "".join(f"\n  {fault}" for fault in self.faults)
        super().__init__(f"{path}: {count} fault{'s' if count != 1 else ''}{lines}", hint=hint)


class Refusal(PerdureError):
    """Something was judged and refused: a result, not a fault."""

    exit_code = 3


class DataRefused(Refusal):
    """Data is not what the schema says."""


class GateRefused(Refusal):
    """A gate refused a model version."""


class LockHeld(PerdureError):
    """Another process holds the lock, or moved an alias meanwhile. Nothing was changed."""

    exit_code = 4


class Unreachable(PerdureError):
    """An outside system does not answer."""

    exit_code = 5


class Fault(PerdureError):
    """A fault that Perdure can name."""


class Corrupt(Fault):
    """A file is incomplete, or its bytes are not those of its digest."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from, the cause last."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
