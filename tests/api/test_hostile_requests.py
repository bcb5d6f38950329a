"""Requests nobody sends by accident: each gets the answer it deserves, and none is believed more than it may be."""

import asyncio
import json
from typing import Any

import pytest

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
