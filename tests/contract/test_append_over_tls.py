"""Appends over TLS: a server elsewhere asks for it, and what is sent ahead goes through the encryption as well."""

import asyncio
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ledger.handler import Handler
from ledger.store import patience
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from tests.contract.members import asked, balances, earn, register
from tests.contract.weather import Between, bad_weather

pytestmark = pytest.mark.services

WIDE = "w" * 20_000
"""More than one record of TLS holds (16 KiB)."""
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""What a client of PostgreSQL says first if it wants TLS (protocol documentation, "SSLRequest")."""
SEED = random.SystemRandom().randrange(10**6)


def certificate() -> tuple[bytes, bytes]:
    """A key, and a certificate for 127.0.0.1 signed by itself: PEM both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the tests' database")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), signed.public_bytes(pem)


class Identity(NamedTuple):
    """A key and its certificate, as files."""

    key: Path
    certificate: Path

    @classmethod
    def made_in(cls, folder: Path) -> "Identity":
        made = cls(folder / "server.key", folder / "server.crt")
        for path, content in zip(made, certificate(), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        return made


@asynccontextmanager
async def behind_tls(url: str, identity: Identity) -> AsyncIterator[tuple[str, list[int]]]:
    """A door that speaks TLS, as before a server elsewhere: its URL, and how many bytes each connection sent.

    The PostgreSQL that tests bring along is built without TLS; behind the door it is the same one. Whoever does not ask
    for TLS is not let in.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.certificate, identity.key)
    inside = urlsplit(url)
    sent: list[int] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None) -> None:
        while data := await reader.read(65536):
            if number is not None:
                sent[number] += len(data)
            writer.write(data)
            await writer.drain()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            there_reader, there = await asyncio.open_connection(inside.hostname, inside.port)
            sent.append(0)
            ways = {
                asyncio.create_task(pass_on(reader, there, len(sent) - 1)),
                asyncio.create_task(pass_on(there_reader, writer, None)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.transport.abort()
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, EOFError):  # a client that hangs up, or likes the certificate not
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(enter, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    netloc = f"{inside.username}:{inside.password}@127.0.0.1:{port}"
    verified = urlencode({"sslmode": "verify-full", "sslrootcert": str(identity.certificate)})
    async with server:
        yield urlunsplit((inside.scheme, netloc, inside.path, verified, "")), sent


class FarAway(Between):
    """It takes a while to reach."""

    async def before(self) -> None:
        await asyncio.sleep(0.002)


async def earn_through_the_weather(url: str, identity: Identity) -> None:
    """A committer over TLS: many small appends, some of several records, and connections that are cut."""
    async with behind_tls(url, identity) as (door, sent):
        store = await PostgresStore(door).open()
        committer = await Committer(FarAway(store), batch_limit=64, small_batch=1).start()  # type: ignore[arg-type]  # all of a store
        handler = Handler(committer)
        users = [f"u{n}" for n in range(40)]
        await register(handler, *users)

        async def earns(user: str) -> None:
            reference = WIDE if user == "u0" else "r"
            for n in range(20):
                await handler.handle(earn(user, 1, f"{reference}{n}"), asked())

        await asyncio.gather(*map(earns, users))
        assert committer.sent_ahead > 5, "nothing was sent ahead"
        assert sum(sent) > 20 * len(WIDE), "not through the door"
        rounds, opened = 20, len(sent)
        async with bad_weather([store], SEED):
            while committer.resent == 0 and rounds < 120:
                await asyncio.gather(*(handler.handle(earn(user, 1, f"r{rounds}"), asked()) for user in users))
                rounds += 1
        assert committer.resent > 0, f"nothing got lost, seed {SEED}"
        assert len(sent) > opened, "nobody came back through the door"
        assert await balances(store) == dict.fromkeys(users, rounds), f"seed {SEED}"
        await committer.stop()
        await store.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_what_is_sent_ahead_goes_through_the_encryption(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """On the loop of the tests, and on the one the service runs on: each has TLS of its own."""
    monkeypatch.setattr(patience, "RESEND_PAUSE_SECONDS", 0.001)
    identity = Identity.made_in(tmp_path)
    if loop == "asyncio":
        await earn_through_the_weather(database_url, identity)
    else:
        await asyncio.to_thread(lambda: uvloop.run(earn_through_the_weather(database_url, identity)))


async def test_a_server_that_cannot_prove_who_it_is_is_told_nothing(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    another = Identity.made_in(tmp_path / "another")
    async with behind_tls(database_url, Identity.made_in(tmp_path)) as (door, sent):
        wrong = door.replace(quote_plus(str(tmp_path / "server.crt")), quote_plus(str(another.certificate)))
        assert wrong != door
        with pytest.raises(ssl.SSLCertVerificationError):
            await PostgresStore(wrong).open()
        assert sum(sent) == 0
