"""The `saelex` command: one file per verb. What a verb needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import sys

from saelex.errors import SaelexError


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit code 2; a bug keeps its traceback."""
    from saelex.cli.app import app

    try:
        app()
    except SaelexError as error:
        _fail(str(error))
    except BrokenPipeError:
        # the reader of our output has gone (`| head`); Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))


def _fail(message: str) -> None:
    line = " ".join(message.split())
    print(f"saelex: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
