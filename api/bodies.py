"""Reading a body: at most 1 MiB, JSON and nothing else, no unknown field, no control character anywhere in a text.

Shared by the lean and the ordinary routes. Read next: `problems.py`, `commands.py`.
"""

import asyncio
import re
from typing import Any, Final, TypeVar

import msgspec
from litestar.types import Receive

from api.call import Call
from api.errors import BodyTooLarge, ClientGone, MalformedBody, UnsupportedMediaType
from api.problems import refusal_of
from ledger.errors import InvalidCommand

BODY_LIMIT_BYTES: Final = 1_048_576
BODY_SECONDS: Final = 30
DISCARDED_BYTES: Final = 16_777_216
DISCARD_SECONDS: Final = 5

T = TypeVar("T")

_JSON: Final = b"application/json"
_JSON_TYPE: Final = re.compile(
    r'application/(?:json|[a-z0-9!#$&^_.-]+\+json)\s*(?:;\s*charset="?utf-?8"?\s*)?\Z', re.IGNORECASE
)
# JSON cannot hold a control character below space as it is, so what can hide one is an escape, DEL, or two bytes of C1.
# A hit may be harmless (an escaped backslash before an n); then the decoded values are looked through.
_SUSPECT: Final = re.compile(rb"\\(?:[bfnrt]|u00[01789])|\x7f|\xc2[\x80-\x9f]").search
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


async def read_body(call: Call, receive: Receive) -> bytes:
    """All of the body, as it was sent. Refused: too large, too slow, not JSON, or encoded."""
    headers = call.headers
    declared = headers.get(b"content-length")
    if declared is not None and int(declared[:20]) > BODY_LIMIT_BYTES:
        await _discard(call, receive)
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            message = await receive()
    except TimeoutError:  # the head came, and nothing after it: some routes are open to anybody
        raise _too_slow() from None
    if message["type"] != "http.request":
        raise ClientGone("The client hung up before it had sent its request.")
    body = message["body"]
    if message["more_body"] or len(body) > BODY_LIMIT_BYTES:
        body = await _read_on(call, receive, body)
    check_type(call, body)
    return body


def check_type(call: Call, body: bytes) -> None:
    """Refuse a body that is not JSON, or encoded."""
    content_type = call.headers.get(b"content-type")
    if (content_type != _JSON and body) or b"content-encoding" in call.headers:
        _check_type(content_type, call.headers.get(b"content-encoding"))


async def _read_on(call: Call, receive: Receive, body: bytes) -> bytes:
    """The rest of a body that comes in parts."""
    parts, size, more = [body], len(body), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more and size <= BODY_LIMIT_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone("The client hung up before it had sent its request.")
                parts.append(message["body"])
                size += len(message["body"])
                more = message["more_body"]
    except TimeoutError:
        raise _too_slow() from None
    if size > BODY_LIMIT_BYTES:
        if more:
            await _discard(call, receive)
        raise _too_large()
    return b"".join(parts)


async def _discard(call: Call, receive: Receive) -> None:
    """Take in what a client is already sending, within reason: closed upon, it would not read our answer."""
    if b"expect" in call.headers:
        return  # it waits to be asked
    left = DISCARDED_BYTES
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message["more_body"]:
                    return
                left -= len(message["body"])
    except TimeoutError:
        return


def decode_body(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """The body as the decoder's type. Refused with the field that is wrong."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal_of(error, decoder.type) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not body:
            raise MalformedBody("The body is empty; JSON is expected.") from None
        detail = str(error) if isinstance(error, msgspec.DecodeError) else "not UTF-8"
        raise MalformedBody(f"The body is no JSON: {detail}.") from None
    except RecursionError:
        raise MalformedBody("The body is nested too deeply.") from None
    # Each of these begins with one of three bytes, which to look for is thirty times as fast as a pattern is.
    if (b"\\" in body or b"\x7f" in body or b"\xc2" in body) and _SUSPECT(body):
        try:
            refuse_control_characters(value)
        except RecursionError:  # the decoder goes deeper than a walk in Python can
            raise MalformedBody("The body is nested too deeply.") from None
    return value


def refuse_control_characters(value: Any) -> None:
    """Refuse NUL and its kind in any text of the value, names of metadata included, naming the field."""
    if (field := _control_at(value, "")) is not None:
        raise InvalidCommand.field(field or "body", "must not contain control characters.")


def holds_control_character(text: str) -> bool:
    """Whether there is one in this text."""
    return _CONTROL(text) is not None


def _control_at(value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return path if _CONTROL(value) else None
    if isinstance(value, msgspec.Struct):
        named = zip(value.__struct_encode_fields__, (getattr(value, f) for f in value.__struct_fields__), strict=True)
        return _first((part, f"{path}.{name}" if path else name) for name, part in named)
    if isinstance(value, dict):
        if any(_CONTROL(key) for key in value):
            return path
        return _first((part, f"{path}.{name}") for name, part in value.items())
    if isinstance(value, list | tuple):
        return _first((part, f"{path}[{index}]") for index, part in enumerate(value))
    return None


def _first(parts: Any) -> str | None:
    return next((found for part, path in parts if (found := _control_at(part, path)) is not None), None)


def _check_type(content_type: bytes | None, encoding: bytes | None) -> None:
    if content_type is None or _JSON_TYPE.match(content_type.decode("latin-1")) is None:
        given = "none" if content_type is None else content_type.decode("latin-1")[:100]
        raise UnsupportedMediaType(f"Content-Type is {given}; application/json in UTF-8 is expected.")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMediaType("Content-Encoding is not supported; send the body as it is.")


def _too_slow() -> MalformedBody:
    return MalformedBody(f"The body did not arrive within {BODY_SECONDS} seconds.")


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
