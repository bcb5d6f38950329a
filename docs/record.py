"""Pages of requests and answers that took place: play what docs/exchanges/*.toml says, write what was answered.

    python docs/record.py            play every page against a ledger of its own, write docs/<folder>/<name>.md
    python docs/record.py --check    only tell which pages were answered otherwise, and fail if one was

A new page is a new file of exchanges, nothing else. What cannot be the same twice is shown in a fixed way, which each
page states: see `_Shown`. A test plays the pages and compares. Read next: `exchanges/points-api.toml`,
`../tests/scenarios/test_documented_exchanges.py`.
"""
# ruff: noqa: INP001 - a script, no package

import base64
import json
import re
import secrets
import sys
import tempfile
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any, Final

import httpx
import jwt
import msgspec
from standardwebhooks import Webhook

ROOT: Final = Path(__file__).resolve().parent.parent
EXCHANGES: Final = ROOT / "docs" / "exchanges"
SECRET: Final = secrets.token_urlsafe(32)
PROVIDER: Final = "acme"
PROVIDER_SECRET: Final = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
ENVIRONMENT: Final = {
    "JWT_SECRET": SECRET,
    "WEBHOOK_SECRETS": f"{PROVIDER}={PROVIDER_SECRET}",
    "PUBLIC_URL": "https://ledger.example",
    "FRONTEND_URL": "https://shop.example",
}
"""Settings the pages are played under, beside those that only say where the ledger lives."""
SHOWN_START: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOTE: Final = "<!-- Written by docs/record.py from docs/exchanges/. What is shown here was asked and answered. -->"
LEGEND: Final = (
    "Every request below was sent to a fresh ledger, in this order, and answered as shown; a test does it again. What is "
    "another each time is shown in a fixed way: the time of the run as 2026-01-31T12:00:00Z, other times by their distance "
    "from it in whole days, without fractions of a second; ids made by the service numbered, hashes as 9f…, signatures as "
    "v1,…, and whatever the text says about itself. "
    "`as ada (buyer)` is `Authorization: Bearer` with a token of that user and role."
)
HEADERS: Final = ("Location", "ETag", "Ledger-Position", "Idempotent-Replayed", "Allow", "Retry-After")
"""Headers of an answer that are shown."""
WIDTH: Final = 110

_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[a-z]{2,3}_[0-9a-f]{32}\b")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Exchange(msgspec.Struct, forbid_unknown_fields=True, rename={"as_": "as"}):
    """One request. `title` begins a section; `keep` takes values of the answer for later ones: `$name`.

    `as_` is `user/role`, or nobody. `shown` says how what was kept is shown; `fixed` what is shown instead of an instant
    that goes by the calendar of the run, and, left empty, that an instant is the same each time. `signed` makes it a
    webhook of the provider's, of that id.
    """

    send: str
    as_: str = ""
    title: str = ""
    text: str = ""
    status: int = 200
    headers: dict[str, str] = {}
    body: str = ""
    signed: str = ""
    keep: dict[str, str] = {}
    shown: dict[str, str] = {}
    fixed: dict[str, str] = {}
    quiet: bool = False


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """One page; `covers` are the routes that have an exchange on it."""

    title: str
    text: str
    exchange: list[Exchange]
    covers: list[str] = []
    folder: str = "reference"


class Played(msgspec.Struct):
    """An exchange as it is shown, and what was asked: the method and the path."""

    exchange: Exchange
    request: str
    answer: str
    method: str
    path: str
    status: int


class _Text(str):
    """A number exactly as it stood in the answer."""

    __slots__ = ()


def load(name: str) -> Page:
    """The page of that name."""
    return msgspec.convert(tomllib.loads((EXCHANGES / f"{name}.toml").read_text(encoding="utf-8")), Page)


def file_of(name: str) -> Path:
    """Where the page of that name lies."""
    return ROOT / "docs" / load(name).folder / f"{name}.md"


def names() -> list[str]:
    """Every page there is."""
    return sorted(file.stem for file in EXCHANGES.glob("*.toml"))


def play(page: Page, base_url: str) -> list[Played]:
    """Send every request of the page, one after the other. An answer of another status stops it."""
    start = datetime.now(UTC).replace(microsecond=0)
    shown = _Shown(start)
    known: dict[str, str] = {"position": "0"}
    for days in (1, 10, 20, 60):
        known[f"in_{days}_days"] = _instant(start + timedelta(days=days))
        shown.instead[known[f"in_{days}_days"]] = _instant(SHOWN_START + timedelta(days=days))
    with httpx.Client(base_url=base_url, timeout=10) as client:
        return [_exchange(client, exchange, known, shown) for exchange in page.exchange]


def render(page: Page, played: list[Played]) -> str:
    """The page as it is read."""
    lines = [f"# {page.title}", "", NOTE, "", page.text.strip(), "", LEGEND]
    for one in played:
        if one.exchange.quiet:
            continue
        if one.exchange.title:
            lines += ["", f"## {one.exchange.title}"]
        if one.exchange.text:
            lines += ["", one.exchange.text.strip()]
        lines += ["", "```http", one.request, "```", "", "```http", one.answer, "```"]
    return "\n".join(lines) + "\n"


def _exchange(client: httpx.Client, exchange: Exchange, known: dict[str, str], shown: "_Shown") -> Played:
    method, _, target = Template(exchange.send).substitute(known).partition(" ")
    headers = {name: Template(value).substitute(known) for name, value in exchange.headers.items()}
    body = Template(exchange.body).substitute(known).strip()
    shown.said(target + body)
    if exchange.signed:
        headers |= signed(exchange.signed, body, shown)
    sent = dict(headers)
    if exchange.as_:
        user, role = exchange.as_.split("/")
        claims = {"id": user, "role": role, "exp": int(time.time()) + 600}
        sent["Authorization"] = "Bearer " + jwt.encode(claims, SECRET, "HS256")
    if body:
        sent["Content-Type"] = "application/json"
    answer = client.request(method, target, headers=sent, content=body or None)
    if answer.status_code != exchange.status:
        raise AssertionError(f"{method} {target} answered {answer.status_code}, not {exchange.status}: {answer.text}")
    for name, where in exchange.keep.items():
        known[name] = _found(answer, where)
        shown.instead[known[name]] = exchange.shown.get(name, known[name])
    known["position"] = answer.headers.get("Ledger-Position", known["position"])
    return Played(
        exchange,
        shown.request(method, target, exchange.as_, headers, body),
        shown.answer(answer, exchange.fixed),
        method,
        target.partition("?")[0],
        answer.status_code,
    )


def signed(webhook_id: str, body: str, shown: "_Shown") -> dict[str, str]:
    """The headers of a webhook as the provider signs them, now."""
    now = datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    signature = Webhook(PROVIDER_SECRET).sign(webhook_id, now, body)
    shown.instead |= {stamp: str(int(SHOWN_START.timestamp())), signature: "v1,…"}
    return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def _found(answer: httpx.Response, where: str) -> str:
    """The value at `data.field`, or of `header Name`."""
    if where.startswith("header "):
        return str(answer.headers[where.removeprefix("header ")])
    at = answer.json()
    for part in where.split("."):
        at = at[int(part)] if isinstance(at, list) else at[part]
    return str(at)


class _Shown:
    """How what differs from run to run is shown, so that two runs are the same page."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._said: set[str] = set()
        self._numbered: dict[str, str] = {}
        self.instead: dict[str, str] = {}

    def said(self, text: str) -> None:
        """Instants of a request are shown as they were sent, unless they were told by the clock."""
        self._said |= set(_INSTANT.findall(text)) - self.instead.keys()

    def request(self, method: str, target: str, as_: str, headers: dict[str, str], body: str) -> str:
        who = [f"# as {as_.replace('/', ' (')})"] if as_ else []
        lines = [*who, f"{method} {target}", *(f"{name}: {value}" for name, value in headers.items())]
        return self._fixed("\n".join(lines) + (f"\n\n{_laid_out(_parsed(body))}" if body else ""))

    def answer(self, answer: httpx.Response, fixed: dict[str, str]) -> str:
        lines = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
        lines += [f"{name}: {answer.headers[name]}" for name in HEADERS if name in answer.headers]
        head = self._fixed("\n".join(lines))
        if not answer.content:
            return head
        if "json" not in answer.headers["Content-Type"]:
            text = "\n".join(answer.text.splitlines())
            return f"{head}\n\n{self._fixed(_INSTANT.sub(self._instant, text))}"
        value = _parsed(answer.text)
        known = {_put(value, where.split("."), instead) for where, instead in fixed.items()}
        return f"{head}\n\n{_laid_out(self._of(value, known))}"

    def _of(self, value: Any, keep: set[str]) -> Any:
        if isinstance(value, dict):
            return {name: self._of(part, keep) for name, part in value.items()}
        if isinstance(value, list):
            return [self._of(part, keep) for part in value]
        if isinstance(value, str) and not isinstance(value, _Text) and value not in keep:
            return self._fixed(_INSTANT.sub(self._instant, value))
        return value

    def _fixed(self, text: str) -> str:
        for real, shown in self.instead.items():
            text = re.sub(rf"(?<![0-9A-Za-z]){re.escape(real)}(?![0-9A-Za-z])", shown, text)
        return _HASH.sub("9f" * 32, _UUID.sub(self._number, text))

    def _instant(self, found: "re.Match[str]") -> str:
        text = found[0]
        if text in self._said or text in self.instead:
            return text
        distance = datetime.fromisoformat(text) - self._start
        return _instant(SHOWN_START + timedelta(days=round(distance / timedelta(days=1))))

    def _number(self, found: "re.Match[str]") -> str:
        prefix, separator, _ = found[0].partition("_")
        number = sum(before.startswith(f"{prefix}_") for before in self._numbered) + 1
        shown = f"{prefix}_{number}" if separator else f"0198c0de-0000-7000-8000-{len(self._numbered) + 1:012}"
        return self._numbered.setdefault(found[0], shown)


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=_Text, parse_int=_Text)


def _put(value: Any, where: list[str], instead: str) -> str:
    """Put it in the place of an instant; anything else there is not what was meant. What stands there now."""
    *way, last = where
    for part in way:
        value = value[part]
    if _INSTANT.fullmatch(value[last]) is None:
        raise AssertionError(f"{'.'.join(where)} is no instant: {value[last]}")
    value[last] = instead or value[last]
    return str(value[last])


def _laid_out(value: Any, indent: str = "", used: int = 0) -> str:
    """JSON that breaks only lines that would be too long."""
    if isinstance(value, _Text):
        return str(value)
    if not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + "  "
    if isinstance(value, dict):
        left, right = "{", "}"
        flat = [f"{json.dumps(name)}: {_laid_out(part)}" for name, part in value.items()]
    else:
        left, right = "[", "]"
        flat = [_laid_out(part) for part in value]
    line = left + ", ".join(flat) + right
    if "\n" not in line and len(indent) + used + len(line) <= WIDTH:
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_laid_out(part, deeper, len(name) + 4)}" for name, part in value.items()]
    else:
        parts = [_laid_out(part, deeper) for part in value]
    return left + "\n" + ",\n".join(deeper + part for part in parts) + "\n" + indent + right


def main() -> int:
    """Play and write every page, or only tell which were answered otherwise."""
    from tests.scenarios.running_ledger import RunningLedger  # noqa: PLC0415 - the path is set first

    stale = []
    for name in names():
        page = load(name)
        with tempfile.TemporaryDirectory(prefix="ledger-exchanges-") as folder:
            running = RunningLedger(Path(folder) / "ledger", ENVIRONMENT).start()
            try:
                text = render(page, play(page, running.url))
            finally:
                running.stop()
        file = file_of(name)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                file.write_text(text, encoding="utf-8")
                sys.stdout.write(f"{file.relative_to(ROOT)}\n")
    if "--check" in sys.argv[1:]:
        sys.stderr.writelines(
            f"{file_of(name).relative_to(ROOT)} was answered otherwise: make exchanges\n" for name in stale
        )
        return 1 if stale else 0
    return 0


sys.path.insert(0, str(ROOT))  # the packages, wherever it is run from

if __name__ == "__main__":
    raise SystemExit(main())
