"""The `saelex` command: one file per verb. What a verb needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from saelex.errors import SaelexError


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit code 2; a bug keeps its traceback."""
    from saelex.cli.app import Abort, UsageError, app

    try:
        code = app(prog_name="saelex", standalone_mode=False)
        sys.stdout.flush()
    except SaelexError as error:
        _fail(str(error))
    except UsageError as error:
        _fail(_usage(error))
    except Abort:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output has gone (`| head`); Python would complain once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    sys.exit(code)


def _usage(error: Any) -> str:
    """What is wrong with the arguments, and where to read about them. Without arguments, help has been shown."""
    message = error.format_message().rstrip(".")
    if not message:
        sys.exit(error.exit_code)
    command = error.ctx.command_path if error.ctx else "saelex"
    return f"{message[0].lower()}{message[1:]}; see `{command} --help`"


def _fail(message: str) -> NoReturn:
    line = " ".join(message.split())
    print(f"saelex: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
