"""Has a failure that no reader foresaw refuse its file, so that others are not kept out."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from perdure.errors import DataRefused, PerdureError

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("perdure")


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Have what a function raises about the content of a file be `DataRefused`.

    What is wrong with the machine passes: an `OSError` with a number (a full disk, a file without
    permission), and too little memory. A library's `OSError` without a number is about content.

    Args:
        function: Reads or checks one file.
    """

    @functools.wraps(function)
    def call(*values: P.args, **named: P.kwargs) -> T:
        try:
            return function(*values, **named)
        except (PerdureError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            logger.debug("No reader foresaw this.", exc_info=True)
            message = f"cannot be read: {type(error).__name__}: {error}"
            hint = "write the file again with another program; if it is right, report it as a bug"
            raise DataRefused(message, hint=hint) from error

    return call
