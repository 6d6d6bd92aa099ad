"""A connection of Python's DB-API that is made when it is needed, and again when it was lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from saelex.engines.calls import UnavailableError
from saelex.engines.store import Store
from saelex.errors import SaelexError


class SqlConnection(Store):
    """What is done with one cursor is one transaction."""

    _connection: Any = None

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        lost, others = self._errors
        refused: tuple[type[Exception], ...] = (*others, UnicodeEncodeError)
        try:
            if self._connection is None:
                self._connection = self._connected()
            with self._connection.cursor() as cursor:
                yield cursor
            self._connection.commit()
        except lost as error:
            self._forget()
            kind = UnavailableError if self._is_lost(error) else SaelexError
            raise kind(str(error)) from error
        except refused as error:
            self._forget()
            raise SaelexError(f"{self.url}: {error}") from error
        except BaseException:
            self._forget()
            raise

    def _is_lost(self, error: Exception) -> bool:
        """Of errors that mean a lost connection in most cases."""
        return True

    def _forget(self) -> None:
        """Whatever was under way is rolled back by the server, also where it hears no more of us."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it is gone already
                connection.close()

    def _close(self) -> None:
        self._forget()

    @property
    @abstractmethod
    def _errors(self) -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
        """Errors of a connection, and all others of the driver."""

    @abstractmethod
    def _connected(self) -> Any: ...
