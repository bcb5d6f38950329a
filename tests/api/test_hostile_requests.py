"""Requests nobody sends by accident: each gets the answer it deserves, and none is believed more than it may be."""

import asyncio
import json
from typing import Any

import pytest

from api import bodies
from tests.api.raw_client import connected, head_and_body

EARN = {"userId": "user-1", "amount": 1, "source": "bonus", "reference": "r"}


async def sent_raw(api: Any, *lines: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
    """What no client library sends: the status and the envelope of the answer."""
    host, port = api.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join((*lines, b"Host: x", b"Connection: close", b"", body)))
    async with asyncio.timeout(10):
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(answer)


async def test_trailers_of_a_chunked_body_are_no_headers(api: Any) -> None:
    user = await api.member()
    body = json.dumps(EARN | {"userId": user, "reference": api.name("ref")}).encode()
    trailers = (
        b"Authorization: Bearer forged\r\nIf-Match: W/none\r\nContent-Type: text/plain\r\nIdempotency-Key: other\r\n"
    )
    status, answer = await sent_raw(
        api,
        b"POST /api/points/earn HTTP/1.1",
        b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
        b"Idempotency-Key: " + api.name("key").encode(),
        b"Authorization: Bearer " + api.token().encode(),
        body=b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers),
    )
    assert status == 201, answer


async def test_two_versions_to_insist_on_are_refused(api: Any) -> None:
    user = await api.member()
    body = json.dumps(EARN | {"userId": user, "reference": api.name("ref")}).encode()
    status, answer = await sent_raw(
        api,
        b"POST /api/points/earn HTTP/1.1",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Idempotency-Key: " + api.name("key").encode(),
        b"Authorization: Bearer " + api.token().encode(),
        b'If-Match: "77"',
        b"If-Match: *",
        body=body,
    )
    assert (status, [problem["field"] for problem in answer["data"]]) == (400, ["If-Match"])


@pytest.mark.parametrize("position", ["0", "007", "0" * 20 + "9" * 20, "0" * 5000 + "1", "9" * 5000, "%D9%A1"])
async def test_a_position_is_a_whole_number_in_plain_digits(api: Any, position: str) -> None:
    answer = await api.get(f"/api/admin/events/{position}")
    assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED"), answer.text


def nested(levels: int, kind: str) -> str:
    return '{"a":' * levels + "1" + "}" * levels if kind == "{" else "[" * levels + "]" * levels


@pytest.mark.parametrize("kind", ["{", "["])
@pytest.mark.parametrize("beside", ["", r"C:\\new"], ids=["plain", "looked through"])
@pytest.mark.parametrize(("levels", "status"), [(63, 201), (64, 400), (400, 400), (960, 400), (5000, 400)])
async def test_metadata_is_nested_within_reason(api: Any, levels: int, status: int, kind: str, beside: str) -> None:
    user = await api.member()
    start = json.dumps(EARN | {"userId": user, "reference": api.name("ref")})[:-1]
    metadata = f'{{"beside": "{beside}", "x": {nested(levels, kind)}}}'
    answer = await api.post("/api/points/earn", f'{start}, "metadata": {metadata}}}'.encode())
    assert answer.status_code == status, answer.text
    item = f'{start.replace("{", "", 1)}, "metadata": {metadata}}}'
    batch = f'{{"atomic": true, "items": [{{"type": "earn", "key": "{api.name("key")}", {item}]}}'
    again = await api.post("/api/points/batch", batch.encode())
    assert again.status_code == (409 if status == 201 else 400), again.text
    if status == 201:
        seen = await api.get(f"/api/admin/events/{answer.headers['Ledger-Position']}")
        assert seen.status_code == 200


# ── HEAD, and what is said twice ──────────────────────────────────────────────────────────────────────────────────


async def raw_answer(api: Any, *lines: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """The status line, the headers and whatever follows them, byte by byte."""
    host, port = api.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join((*lines, b"Host: x", b"Connection: close", b"", b"")))
    async with asyncio.timeout(10):
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *fields = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in fields), rest


@pytest.mark.parametrize(
    "path", ["/health", "/api/points/levels", "/api/points/my-points", "/api/purchases", "/api/docs"]
)
async def test_head_is_get_without_its_body(api: Any, path: str) -> None:
    bearer = b"Authorization: Bearer " + api.token("nobody", "buyer").encode()
    asked, got = [await raw_answer(api, b"%b %b HTTP/1.1" % (m, path.encode()), bearer) for m in (b"HEAD", b"GET")]
    assert asked[0] == got[0] == b"HTTP/1.1 200 OK"
    assert asked[1].keys() == got[1].keys()
    assert asked[1][b"content-length"] == b"%d" % len(got[2])
    assert (asked[2], got[2] != b"") == (b"", True)


async def test_head_of_a_short_link_leads_on_and_of_a_command_is_405(api: Any) -> None:
    user = await api.member()
    code = (await api.post("/api/points/generate-referral-code", {}, user, "buyer")).json()["data"]["referralCode"]
    link = await api.http.head(f"/r/{code}", follow_redirects=False)
    assert (link.status_code, link.headers["Location"][-8:]) == (302, code)
    command = await api.http.head("/api/points/earn", headers=api.bearer())
    assert (command.status_code, command.headers["Allow"]) == (405, "OPTIONS, POST")


async def test_two_tokens_are_none(api: Any) -> None:
    """A proxy may look at the first of them and we at the last."""
    lines = [b"Authorization: Bearer " + api.token(user, "buyer").encode() for user in ("ann", "bob")]
    for pair in (lines, lines[:1] * 2):
        status, _, body = await raw_answer(api, b"GET /api/points/my-points HTTP/1.1", *pair)
        assert status == b"HTTP/1.1 401 Unauthorized"
        assert json.loads(body)["error"] == "INVALID_TOKEN"


@pytest.mark.parametrize("tag", ['"01"', '"1', '1"', '"1"x', '" 1"', '"-1"', '"1.0"', 'w/"1"', '""'])
async def test_a_tag_that_is_no_version_matches_nothing(api: Any, tag: str) -> None:
    user = await api.member()
    body = EARN | {"userId": user, "reference": api.name("ref")}
    answer = await api.post("/api/points/earn", body, headers={"If-Match": tag})
    assert (answer.status_code, answer.json()["error"]) == (412, "STALE_VERSION")
    assert (await api.post("/api/points/earn", body, headers={"If-Match": '"1"'})).status_code == 201


@pytest.mark.parametrize("start", [b"GET /" + b"a" * 100, b"GET / HTTP/1.1\r\nX: a", b"GET / HTTP/1.1\r\nX: a\r\n"])
async def test_headers_without_an_end_are_not_listened_to(api: Any, start: bytes) -> None:
    host, port = api.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(start)
    sent = 0
    piece = b"Y: b\r\n" * 2000 if start.endswith(b"\n") else b"a" * 12_000
    async with asyncio.timeout(10):
        while not reader.at_eof() and sent < 5_000_000:
            try:
                writer.write(piece)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(piece)
            await asyncio.sleep(0.001)
            if reader._buffer:
                break
        answer = await reader.read(100)
    writer.close()
    assert sent < 5_000_000
    assert answer.split()[1] in {b"431", b"400"}


async def test_a_head_of_sixty_kilobytes_is_a_request(api: Any) -> None:
    answer = await api.http.get("/health", headers={"X-Long": "a" * 60_000})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"%b": 1}' % (b"a" * 900_000),
        b'{"metadata": {"%b": "\\u0000"}}' % (b"a" * 900_000),
        b'{"%b": 1}' % ("\u2603" * 300_000).encode(),
    ],
    ids=["unknown", "deep", "snowmen"],
)
async def test_a_name_without_end_is_not_repeated_to_its_end(api: Any, body: bytes) -> None:
    body = json.dumps(EARN)[:-1].encode() + b", " + body[1:]
    answer = await api.post("/api/points/earn", body)
    assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED")
    assert len(answer.content) < 3000
    assert answer.json()["data"][0]["field"].endswith("…")
    query = await api.http.get("/api/points/levels?" + "a" * 50_000 + "=1", headers=api.bearer())
    assert len(query.json()["message"]) < 500


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/payment/webhooks/stripe", {}),
        ("/api/points/earn", {"role": "service"}),
        ("/api/purchases", {"role": "service"}),
    ],
    ids=["open to anybody", "lean", "ordinary"],
)
@pytest.mark.parametrize("sent", ["", '{"userId"'], ids=["no body", "half a body"])
async def test_who_announces_a_body_and_does_not_send_it_is_not_waited_for(
    api: Any, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str], sent: str
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    who = api.bearer("shop", headers["role"]) if headers else {}
    head, _ = head_and_body(path, {"Content-Type": "application/json", "Content-Length": "100", **who}, "")
    async with connected(api) as client:
        answer = await client.asked(head, *([sent.encode()] if sent else []))
    assert (answer.status, '"error":"INVALID_JSON"' in answer.text) == (400, True)
    assert "did not arrive within" in answer.text
