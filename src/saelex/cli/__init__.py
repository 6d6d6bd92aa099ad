"""The `saelex` command: one file per verb. What a verb needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

from saelex.cli.logs import lasting, say_error
from saelex.errors import InputError, SaelexError
from saelex.installation import naming_extras


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit code 2; a bug keeps its traceback."""
    with lasting():
        _main()


def _main() -> None:
    try:
        _check_arguments(sys.argv[1:])
        with naming_extras():
            code = _run()
        if sys.stdout is not None:  # closed by the caller (`>&-`)
            sys.stdout.flush()
    except SaelexError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output has gone (`| head`)
        _leave_stdout()
        sys.exit(1)
    except UnicodeEncodeError as error:
        _fail(f"the output holds what {error.encoding} cannot write ({error.reason}); set PYTHONIOENCODING=utf-8")
    except OSError as error:
        _leave_stdout()
        _fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    sys.exit(code)


def _run() -> int | None:
    from saelex.cli.app import Abort, UsageError, app_for

    app = app_for(sys.argv[1:2])
    try:
        code: int | None = app(prog_name="saelex", standalone_mode=False)
    except UsageError as error:
        _fail(_usage(error))
    except Abort:
        raise KeyboardInterrupt from None
    return code


def _check_arguments(arguments: list[str]) -> None:
    """Raises InputError for bytes that are not UTF-8: no query, id or name is made of them."""
    for place, argument in enumerate(arguments, start=1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"argument {place}, {argument!r}, is not UTF-8") from error


def _leave_stdout() -> None:
    """Python would complain once more, with an exit code of its own, when it flushes at exit what cannot be written."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Any) -> str:
    """What is wrong with the arguments, and where to read about them. Without arguments, help has been shown."""
    message = error.format_message().rstrip(".")
    if not message:
        sys.exit(error.exit_code)
    command = error.ctx.command_path if error.ctx else "saelex"
    return f"{message[0].lower()}{message[1:]}; see `{command} --help`"


def _fail(message: str) -> NoReturn:
    say_error(" ".join(message.split()))
    sys.exit(2)
