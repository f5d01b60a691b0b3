"""A disk that is waited for: every sync of a process answers so many milliseconds later.

Syncs are made slower where they are made: a few lines of C stand before the C library's ``fsync``
and ``fdatasync`` (``LD_PRELOAD``), sync the file as asked, and then sleep. Below them is the
real disk and above them is SQLite, whichever way a peer came to it, and neither knows. SQLite waits
there without the interpreter's lock, as for a disk. A file system of SQLite's own would
need no compiler, but its wait would be Python's and take that lock from the threads that are
measured.

What is not like a slower disk: it reads and writes as fast as before, and two syncs at once wait
side by side.

Run as a script it commits to a database in a folder, one row at a time, and prints what each
commit took and how many of its syncs were made slower. That proves the wait before it is used.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from peers.base import make_items
from peers.raw_sqlite import RawCommit

SOURCE: Final = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long syncs_made_slower = 0;

static int slower(long call, int file)
{
    int answer = (int) syscall(call, file), error = errno;
    struct timespec left = {WAIT_NS / 1000000000L, WAIT_NS % 1000000000L};
    while (nanosleep(&left, &left) != 0)
        ; /* a signal came: the rest of it */
    __atomic_add_fetch(&syncs_made_slower, 1, __ATOMIC_RELAXED);
    errno = error;
    return answer;
}

int fsync(int file) { return slower(SYS_fsync, file); }
int fdatasync(int file) { return slower(SYS_fdatasync, file); }
"""
COUNTER: Final = "syncs_made_slower"
COMPILER: Final = "cc"
COMMITS: Final = 20
NS_IN_MS: Final = 1_000_000
MS_IN_S: Final = 1_000


class NotSlower(Exception):
    """Syncs cannot be made slower here, or were not."""


@dataclass(frozen=True)
class SlowerSyncs:
    """Syncs that answer later, in every process that is started so."""

    ms: float
    environment: Mapping[str, str]
    """Of the processes whose syncs answer later."""
    raw_commit_ms: float
    """The median of a few commits as the disk is."""
    raw_commit_slower_ms: float
    """The same with the wait."""

    @property
    def surroundings(self) -> dict[str, float]:
        """What is to be known of every figure that was taken so."""
        return {
            "each_sync_slower_ms": self.ms,
            "raw_commit_ms": round(self.raw_commit_ms, 3),
            "raw_commit_slower_ms": round(self.raw_commit_slower_ms, 3),
        }


@contextmanager
def slower_syncs(ms: float) -> Iterator[SlowerSyncs]:
    """Processes whose every sync takes so many milliseconds more, which has been seen.

    Raises NotSlower where it cannot be done, or is not seen.
    """
    with tempfile.TemporaryDirectory(prefix="slower-syncs-") as folder:
        library = compiled(ms, Path(folder))
        before = [library, *filter(None, [os.environ.get("LD_PRELOAD")])]
        environment = {**os.environ, "LD_PRELOAD": " ".join(map(str, before))}
        commits = commits_of(environment)
        seen = [took for took, syncs in commits if syncs > 0 and took >= ms]
        if len(seen) < COMMITS:
            raise NotSlower(f"{len(seen)} of {COMMITS} commits had a sync that took {ms:g} ms more")
        as_it_is = statistics.median(took for took, _ in commits_of(os.environ))
        yield SlowerSyncs(ms, environment, as_it_is, statistics.median(seen))


def compiled(ms: float, folder: Path) -> Path:
    """The library that makes syncs slower by so many milliseconds."""
    compiler = shutil.which(COMPILER)
    if compiler is None or not sys.platform.startswith("linux"):
        raise NotSlower(f"making syncs slower takes Linux and a C compiler, `{COMPILER}`")
    source, library = folder / "slower.c", folder / "slower.so"
    source.write_text(SOURCE, encoding="utf-8")
    wait = f"-DWAIT_NS={round(ms * NS_IN_MS)}L"
    command = [compiler, "-O2", "-shared", "-fPIC", wait, "-o", str(library), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - cc
    if done.returncode != 0:
        raise NotSlower(f"{COMPILER} failed: {done.stderr.strip()}")
    return library


def commits_of(environment: Mapping[str, str]) -> list[tuple[float, int]]:
    """(ms, syncs made slower) of a few commits in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="commits-") as folder:
        done = subprocess.run(  # noqa: S603 - this very script
            [sys.executable, __file__, folder],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
    if done.returncode != 0:
        raise NotSlower(f"raw commits failed: {done.stderr.strip()}")
    return [(took, counted) for took, counted in json.loads(done.stdout)]


def commits_in(folder: Path) -> Iterator[tuple[float, int]]:
    """(ms, syncs made slower) of each of a few commits at full sync, each of a row."""
    with closing(RawCommit(folder)) as raw:
        for item in make_items(0, COMMITS, sessions=1):
            before, began = syncs_made_slower() or 0, time.perf_counter()
            raw.accept(item)
            took = time.perf_counter() - began
            yield took * MS_IN_S, (syncs_made_slower() or 0) - before


def syncs_made_slower() -> int | None:
    """How many of this process were made slower by now; None where none are."""
    try:
        return ctypes.c_long.in_dll(ctypes.CDLL(None), COUNTER).value
    except ValueError:  # no library of ours stands before the C library
        return None


def caption(surroundings: Mapping[str, Any]) -> str:
    """What must stand beside figures that were taken so; nothing for those of the disk itself."""
    ms = surroundings.get("each_sync_slower_ms")
    return "" if ms is None else f"each sync made {ms:g} ms slower"


if __name__ == "__main__":
    print(json.dumps(list(commits_in(Path(sys.argv[1])))))
