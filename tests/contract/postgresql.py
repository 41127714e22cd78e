"""A real PostgreSQL server for the length of a test session: its own folder, reached through a socket in it."""

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any


def find_programs() -> Path | None:
    """Return the folder of the newest installed server programs (Debian's layout), or None."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


class PostgresqlServer:
    """A server in the empty `folder`, without fsync, which tests do not need."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._identity = _unprivileged_identity(folder)
        self._run(
            "initdb", "--auth=trust", "--username=lightbox", "--encoding=UTF8", "--no-sync", f"--pgdata={self._data}"
        )
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://lightbox@/{database}?host={self._folder}"

    def create_database(self, name: str, *options: str) -> str:
        """Create an empty database, with `createdb`'s options, and return its URL."""
        self._run("createdb", f"--host={self._folder}", "--username=lightbox", *options, name)
        return self.url(name)

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={self._folder / 'log'}", "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self._data}")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # A file: the server that pg_ctl starts would keep a pipe open.
        with (self._folder / f"{program}.out").open("w+") as output:
            done = subprocess.run(
                command, cwd=self._folder, stdout=output, stderr=output, check=False, **self._identity
            )
            if done.returncode != 0:
                output.seek(0)
                raise RuntimeError(f"{program} ended with {done.returncode}: {output.read()}")


def _unprivileged_identity(folder: Path) -> dict[str, Any]:
    """Return `subprocess` options for another user than root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in known else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
