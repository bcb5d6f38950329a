"""`ledger project …`: run, watch, rebuild and verify the read models.

May import: click, asyncpg, ledger, projections, workers. Read next: `../../projections/runner.py`.
"""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import asyncpg
import click
import msgspec

from api.cli import connection
from api.cli.terminal import Failed, json_option, print_json, print_table, progress, report
from ledger.logs import configure_logs
from ledger.settings import Settings
from projections.builds import pause, resume
from projections.catalogue import PROJECTIONS, projection_named
from projections.dead_letters import list_dead_letters, replay_dead_letter, skip_dead_letter
from projections.live_checkpoint import SenderLag, get_sender_lag
from projections.read_model_list import ReadModelStatus, list_read_models
from projections.rebuild import Progress, cancel_rebuild, rebuild, rollback
from projections.verify import verify
from workers.projector import run_projector

SHOWN_AT_MOST: Final = 1000
"""Differences that are listed; there is no end to them where a fold is wrong."""

T = TypeVar("T")

_name = click.argument("name", type=click.Choice([projection.name for projection in PROJECTIONS]))
_letter = click.argument("dead_letter_id", type=click.IntRange(1))


class Done(msgspec.Struct, frozen=True, rename="camel"):
    """A read model and the build that answers for it now."""

    name: str
    version: int


def _pool() -> "AbstractAsyncContextManager[asyncpg.Pool[Any]]":
    return connection.pool(connection.find_urls(Settings.from_env()).project_url, "ledger_project")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@click.group("project")
def command() -> None:
    """Run, watch, rebuild and verify the read models."""


@command.command("run")
def run() -> None:
    """Run the projector: follow the log, keep the read models up to date, send live events."""
    settings = Settings.from_env()
    configure_logs(settings.log_level)
    urls = connection.find_urls(settings)
    asyncio.run(run_projector(urls.project_url, urls.direct_url, urls.redis_url))


@command.command("status")
@json_option
def status(as_json: bool) -> None:
    """Position, lag and state of every read model, and of the sender of live events.

    Status 1 if a read model is stuck or has dead letters.
    """

    async def read() -> tuple[list[ReadModelStatus], SenderLag]:
        async with _pool() as pool:
            return await list_read_models(pool), await get_sender_lag(pool)

    models, sender = _run(read())

    def show() -> None:
        headings = ("read model", "state", "version", "position", "lag", "waiting s", "dead letters", "rebuild")
        print_table(headings, [_line(model) for model in models])
        click.echo(
            f"\nLive events are sent up to position {sender.position:,}, {sender.lag_events:,} behind the log; "
            f"the next one waits for {sender.lag_seconds:.1f} s."
        )

    report({"readModels": models, "liveEvents": sender}, as_json, show)
    if any(model.state == "stuck" or model.dead_letters for model in models):
        sys.exit(1)


def _line(model: ReadModelStatus) -> Sequence[object]:
    beside = ""
    if isinstance(model.rebuild, msgspec.Struct):
        eta = "" if model.rebuild.eta_seconds is None else f", {model.rebuild.eta_seconds:.0f} s left"
        beside = f"{model.rebuild.progress:.0%} at {model.rebuild.rate:,.0f}/s{eta}"
    return (
        model.name,
        model.state,
        model.version,
        model.position,
        model.lag_events,
        model.lag_seconds,
        model.dead_letters,
        beside,
    )


@command.command("rebuild")
@_name
@json_option
def rebuild_command(name: str, as_json: bool) -> None:
    """Make a read model again beside the one that answers, and change over. Interrupted, it goes on when run again."""

    async def work() -> int:
        with progress(f"rebuilding {name}", None) as advance:

            def on_progress(at: Progress) -> None:
                advance(at.position, at.target)

            async with _pool() as pool:
                return await rebuild(pool, projection_named(name), on_progress=on_progress)

    done = Done(name, _run(work()))
    report(done, as_json, lambda: click.echo(f"{name} is rebuilt: version {done.version} answers."))


@command.command("cancel")
@_name
def cancel(name: str) -> None:
    """Drop the rebuild that is under way; the version that answers goes on."""

    async def work() -> None:
        async with _pool() as pool:
            await cancel_rebuild(pool, projection_named(name))

    _run(work())


@command.command("verify")
@_name
@click.option("--stream", "streams", multiple=True, help="Only the rows of this stream; may be given several times.")
@json_option
def verify_command(name: str, streams: tuple[str, ...], as_json: bool) -> None:
    """Fold the log again and name every row that differs, with the event that explains it. Status 1 if one does."""

    async def work() -> int:
        count = 0
        async with _pool() as pool:
            async for difference in verify(pool, projection_named(name), list(streams) or None):
                count += 1
                if count > SHOWN_AT_MOST:
                    raise Failed(f"more than {SHOWN_AT_MOST} differences; the rest is not listed.")
                if as_json:
                    print_json(difference)
                else:
                    said = msgspec.to_builtins(difference)
                    click.echo("  ".join(f"{field}={value!r}" for field, value in said.items()))
        return count

    count = _run(work())
    if count:
        raise Failed(f"{name} differs from the log in {count} places.")
    if not as_json:
        click.echo(f"{name} is what the log says.")


@command.command("rollback")
@_name
@json_option
def rollback_command(name: str, as_json: bool) -> None:
    """Let the version before the present one answer again; it was projected all the time."""

    async def work() -> int:
        async with _pool() as pool:
            return await rollback(pool, projection_named(name))

    done = Done(name, _run(work()))
    report(done, as_json, lambda: click.echo(f"{name}: version {done.version} answers."))


@command.command("pause")
@_name
def pause_command(name: str) -> None:
    """Stop a read model where it is; reads go on, of older and older rows."""

    async def work() -> None:
        async with _pool() as pool:
            await pause(pool, projection_named(name))

    _run(work())


@command.command("resume")
@_name
def resume_command(name: str) -> None:
    """Go on after a pause, or after what stuck a rebuild was repaired."""

    async def work() -> None:
        async with _pool() as pool:
            await resume(pool, projection_named(name))

    _run(work())


@command.command("dead-letters")
@click.option("--all", "everything", is_flag=True, help="Those that were replayed or skipped, too.")
@json_option
def dead_letters(everything: bool, as_json: bool) -> None:
    """Events that could not be applied, newest first. Each parks its stream in that read model."""

    async def read() -> list[Any]:
        async with _pool() as pool:
            return (await list_dead_letters(pool, state=None if everything else "parked", limit=100)).rows

    letters = _run(read())

    def show() -> None:
        headings = ("id", "read model", "stream", "position", "event", "tries", "state")
        rows = [(x.id, x.read_model, x.stream, x.position, x.event_type, x.tries, x.state) for x in letters]
        print_table(headings, rows)

    report({"deadLetters": letters}, as_json, show)


@command.command("replay")
@_letter
def replay(dead_letter_id: int) -> None:
    """Apply a dead letter's event and all later ones of its stream."""

    async def work() -> None:
        async with _pool() as pool:
            await replay_dead_letter(pool, dead_letter_id)

    _run(work())


@command.command("skip")
@_letter
def skip(dead_letter_id: int) -> None:
    """Leave a dead letter's event out of the read model for ever, and apply the later ones of its stream."""

    async def work() -> None:
        async with _pool() as pool:
            await skip_dead_letter(pool, dead_letter_id)

    _run(work())
