"""The one way a command ends on wrong input: one line on stderr and exit status 2."""

import functools
import os
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Something the user gave is wrong. The message says what was expected, what came and how to mend it."""


EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap a `main()`: `InputError` becomes one line and exit status 2, Ctrl-C exit status 130."""

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except InputError as error:
            sys.exit(_report(str(error), EXIT_BAD_INPUT))
        except KeyboardInterrupt:
            sys.exit(_report("interrupted", EXIT_INTERRUPTED))
        except BrokenPipeError:
            # The reader of our output (`| head`) has gone: nothing is left to be said to it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return wrapped


def _report(message: str, status: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status
