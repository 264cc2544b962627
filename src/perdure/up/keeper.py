"""The process that outlives a killed supervisor, ends what it left behind, and ends.

    python -P -m perdure.up.keeper MARK

waits until its standard input ends, which the kernel sees to however the supervisor dies. The
parts have seen the same and are ending; what has not ended in a while is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time

WAIT_SECONDS = 2.0
"""For the parts to end by themselves."""
PATIENCE_SECONDS = 2.0
"""From SIGTERM to SIGKILL."""
LIMIT_SECONDS = 60.0


def main(mark: str) -> None:
    """Wait for the supervisor's end, and clear up after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its one task comes after everybody else's end
    while os.read(0, 1024):
        pass

    from perdure.up import kin  # psutil: not before it is needed

    ours = kin.of_life(mark)
    deadline = time.monotonic() + WAIT_SECONDS
    while kin.alive(ours) and time.monotonic() < deadline:
        time.sleep(kin.LOOK_SECONDS)
    kin.end(ours, PATIENCE_SECONDS, LIMIT_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
