"""Write the pages of docs/reference/ that say what the code says: errors, settings, events.

    python docs/generate.py            write them
    python docs/generate.py --check    only tell which are stale, and fail if one is

A page is a function here and a line in `PAGES`. Examples of events are the golden files: bytes that are tested.
The other pages of that folder are written by hand. Read next: `../tests/architecture/test_reference.py`.
"""
# ruff: noqa: INP001 - a script, no package

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import msgspec.inspect as inspected
import msgspec.structs

if TYPE_CHECKING:
    from ledger.errors import LedgerError

ROOT: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
GOLDEN: Final = ROOT / "tests" / "golden"
NOTE: Final = "<!-- Written by docs/generate.py from the code. Change the code, then run it again. -->"
INTERNAL: Final = (
    "INTERNAL_ERROR",
    "500",
    "Something unexpected. It is logged with the request id; no detail leaves the process.",
)
"""Not a refusal, so not in the tree: what the caller sees of everything that has no code."""
SHAPES: Final[dict[type[inspected.Type], str]] = {
    inspected.StrType: "text",
    inspected.IntType: "whole number",
    inspected.BoolType: "true or false",
    inspected.NoneType: "null",
    inspected.DateTimeType: "instant",
    inspected.DictType: "object",
}
"""How a reader of JSON calls what a field holds. A type without a word here stops the generator."""


def errors_page() -> str:
    """Every code with its status, by status and name."""
    from api.errors import status_of  # noqa: PLC0415 - the path is set first
    from ledger.errors import LedgerError  # noqa: PLC0415 - as above

    kinds: set[type[LedgerError]] = {LedgerError, *_derived_from(LedgerError)}
    rows = [INTERNAL, *((kind.code, str(status_of(kind)), _first_sentences(kind)) for kind in kinds)]
    lines = [
        f"| `{code}` | {status} | {meaning} |" for code, status, meaning in sorted(rows, key=lambda r: (r[1], r[0]))
    ]
    return _page(
        "Errors",
        "`error` of an answer that failed. Codes never change; match on them, not on `message`. A refusal changes nothing.\n"
        "A general code (`NOT_FOUND`, `CONFLICT`) is answered where there is no more special one.",
        "| code | status | meaning |",
        "|---|---|---|",
        *lines,
    )


def settings_page() -> str:
    """Every environment variable, in the order of the table in the code."""
    from ledger.settings import SETTINGS  # noqa: PLC0415 - as above

    lines = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else 'not set'} | {_cell(row.meaning)} |"
        for row in SETTINGS
    ]
    return _page(
        "Settings",
        "Environment variables. An empty one counts as absent. A wrong value stops the start with one line that names it.",
        "| name | default | meaning |",
        "|---|---|---|",
        *lines,
    )


def events_page() -> str:
    """Every stored event: its stream, its fields, its line in a member's history, and an example."""
    from ledger.store.codec import TAGS, UPCASTERS, Actor, Metadata, decode  # noqa: PLC0415 - as above
    from ledger.transactions import transaction_of  # noqa: PLC0415 - as above

    old = [f"`{tag}` is read as `{newer}`." for tag, (newer, _) in sorted(UPCASTERS.items())]
    parts = [
        "Tags and fields never change. What changes is a new tag; old events are read as the newest version.",
        "Times are UTC. `balance` and `lifetime` are what they are after the event.",
        *old,
        "",
        "## What surrounds every event",
        "",
        f"{_first_sentences(Metadata)} {_first_sentences(Actor)}",
        "",
        *_fields(Metadata),
        "",
        *_example("metadata.full"),
    ]
    for tag, event in TAGS.items():
        line = transaction_of(decode(tag, (GOLDEN / f"{tag}.json").read_bytes()))
        history = "No line in the member's history." if line is None else f"In the member's history: `{line.type}`."
        parts += ["", f"## {tag}", "", _first_sentences(event), history, "", *_fields(event), "", *_example(tag)]
    return _page("Events", *parts)


def state_machines_page() -> str:
    """Statuses and flows, drawn from the tables that decide."""
    from ledger.domain import disputes, instructions, payment_events, purchases  # noqa: PLC0415 - the path is set first
    from ledger.journal import ACCOUNTS  # noqa: PLC0415 - as above

    own = [("pending", "active"), ("pending_payment", "active")]
    of_purchase = [(a, b, "") for a, row in purchases.TRANSITIONS.items() for b in row]
    of_purchase += [(a, b, "funded") for a, b in own]
    of_purchase += [(a, "refunded", "payment refunded") for a in purchases.STATUSES if a != "refunded"]
    flows: dict[tuple[str, str], list[str]] = {}
    for event, pairs in payment_events.FLOWS.items():
        for pair in pairs:
            flows.setdefault(pair, []).append(_tag(event).removeprefix("payment.").removesuffix(".v1"))
    return _page(
        "State machines",
        "Drawn from the tables the rules are decided by. What is not drawn is refused by name.",
        "",
        "## A purchase",
        "",
        "By `POST /api/purchases/:id/status`; with a word on the arrow: by the ledger alone.",
        "",
        *_diagram("pending", of_purchase),
        "",
        "## The money of a payment",
        "",
        "Buckets, and the events that move money between them. Together they are `gross`; `suspense` is beside it.",
        "",
        "```mermaid",
        "flowchart LR",
        *(f"    {a} -- {', '.join(names)} --> {b}" for (a, b), names in flows.items()),
        "```",
        "",
        f"`status` is the first of these that holds: {', '.join(payment_events.PAYMENT_STATUSES)}.",
        f"`escrowState`: {', '.join(payment_events.ESCROW_STATES)}.",
        "",
        "## An instruction",
        "",
        *_diagram("reserved", _steps(instructions.STEPS)),
        "",
        "## A dispute",
        "",
        *_diagram("pending", _steps(disputes.COMMANDS)),
        "",
        "## The chart of accounts",
        "",
        "Each event becomes postings that sum to zero in each currency. Points are of the currency `PTS`. A balance is "
        "debits less credits.",
        "",
        "| account | what is on it |",
        "|---|---|",
        *(f"| `{account}` | {meaning} |" for account, meaning in ACCOUNTS.items()),
    )


def _tag(event: type) -> str:
    from ledger.store.codec import TAGS  # noqa: PLC0415 - the path is set first

    return next(tag for tag, kind in TAGS.items() if kind is event)


def _steps(table: "Mapping[str, Mapping[str, str]]") -> list[tuple[str, str, str]]:
    return [(status, after, step) for status, row in table.items() for step, after in row.items()]


def _diagram(start: str, arrows: list[tuple[str, str, str]]) -> list[str]:
    """A mermaid state diagram; statuses without a way out end."""
    ends = {b for _, b, _ in arrows} - {a for a, _, _ in arrows}
    return [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {start}",
        *(f"    {a} --> {b}{': ' + word if word else ''}" for a, b, word in arrows),
        *(f"    {end} --> [*]" for end in sorted(ends)),
        "```",
    ]


PAGES: Final[dict[str, Callable[[], str]]] = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "events.md": events_page,
    "state-machines.md": state_machines_page,
}


def _derived_from(kind: "type[LedgerError]") -> "Iterator[type[LedgerError]]":
    """All refusals of the modules that define any; others would be missed, which a test watches."""
    for module in ("ledger.errors", "ledger.payment_errors", "api.errors"):
        importlib.import_module(module)
    for child in kind.__subclasses__():
        yield child
        yield from _derived_from(child)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _first_sentences(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _fields(kind: type[msgspec.Struct]) -> list[str]:
    fields = msgspec.structs.fields(kind)
    rows = [f"| `{field.encode_name}` | {_shape(inspected.type_info(field.type))} |" for field in fields]
    return ["| field | JSON |", "|---|---|", *rows]


def _shape(of: inspected.Type) -> str:
    match of:
        case inspected.UnionType(types=options):
            return " or ".join(_shape(option) for option in options)
        case inspected.StructType(fields=fields):
            return "{" + ", ".join(f"{field.encode_name}: {_shape(field.type)}" for field in fields) + "}"
        case inspected.VarTupleType(item_type=item) | inspected.ListType(item_type=item):
            return f"array of {_shape(item)}"
        case inspected.LiteralType(values=words):
            return " or ".join(f"`{word}`" for word in words)
        case _:
            return SHAPES[type(of)]


def _example(name: str) -> list[str]:
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    return ["```json", json.dumps(json.loads(text), indent=2, ensure_ascii=False), "```"]


def _page(title: str, *lines: str) -> str:
    return "\n".join((f"# {title}", "", NOTE, "", *_spaced(lines))) + "\n"


def _spaced(lines: tuple[str, ...]) -> Iterator[str]:
    """A table needs an empty line before it."""
    before = ""
    for line in lines:
        if line.startswith("|") and before and not before.startswith("|"):
            yield ""
        yield line
        before = line


def stale_pages() -> list[str]:
    """The pages that do not say what the code says."""
    return [
        name
        for name, render in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write the stale pages, or only name them."""
    stale = stale_pages()
    if "--check" in sys.argv[1:]:
        sys.stderr.writelines(f"docs/reference/{name} is stale: run python docs/generate.py\n" for name in stale)
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")
    return 0


sys.path.insert(0, str(ROOT))  # the packages, wherever it is run from

if __name__ == "__main__":
    raise SystemExit(main())
