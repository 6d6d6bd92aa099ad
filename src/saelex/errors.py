"""The errors a user can cause and can mend. Each message is one line: what is wrong and what to do about it."""

from __future__ import annotations

_LONGEST = 1600  # characters; the last ones say what to do


class SaelexError(Exception):
    """Base of all errors that saelex raises on purpose; the command line prints its message and exits with code 2.

    The message is one line, and a value in it that goes on and on is cut.
    """

    def __str__(self) -> str:
        line = " ".join(super().__str__().splitlines())
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 4 :]}"


class InputError(SaelexError):
    """Bad data or a bad argument: a malformed line (named as `file:line`), an unknown option, a missing file."""


class MismatchError(SaelexError):
    """Parts that do not belong together: SAE and backbone, a head and its recorded hash, an index and an encoder."""


class LockedError(SaelexError):
    """Another process is writing to the index; it can be tried again."""


class CorruptIndexError(SaelexError):
    """An index folder that is damaged, incomplete, or not one of ours."""
