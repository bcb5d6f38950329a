"""HTTP as uvicorn speaks it, kept in order: a head has an end, what cannot be read is answered behind what could, and an
offer of HTTP/2 is ignored.

Of a head there is no end to httptools: who sends headers without end would fill the memory. What uvicorn says of bytes it
cannot read goes out at once, also in front of the answers to requests that came before them: a command that is being
committed would be told as refused. And of a request with an `Upgrade` its parser gives up the body, which then is read as
a request of its own. uvicorn, httptools and the standard library. Read next: `one_write.py`, `whole_requests.py`.
"""

import sys
from typing import Final

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES: Final = 65_536
"""So much of a head or of trailers is waited for; what one read of the socket brings whole may be more."""
HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class OrderlyProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with heads of a bounded size, answers in order, and no HTTP/2."""

    _unmade = 0
    """Bytes that have come and of which nothing was made yet: of a head, of a trailer, of what a chunk says of itself."""
    _read = b""
    """What is being parsed."""
    _again = b""
    """What is to be parsed anew."""
    _last_words: bytes | None = None
    """What is to be said when all requests are answered, and then no more."""

    def data_received(self, data: bytes) -> None:
        """More has come."""
        if self._last_words is not None:
            return
        self._unmade += len(data)
        self._read = data
        super().data_received(data)
        while self._again:
            self._read, self._again = self._again, b""
            super().data_received(self._read)
        self._read = b""
        if self._unmade > HEAD_BYTES and not self.transport.is_closing():
            self._end_with(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The head is whole. What still comes as a header is a trailer of a chunked body, which must not pass for one.

        A proxy sets and removes headers, `X-Forwarded-For` among them, and leaves trailers alone (RFC 9110, 6.5.1).
        """
        self._unmade = 0
        if self._is_upgrade_to_ignore():
            return
        super().on_headers_complete()
        if not (self.parser.should_upgrade() and self._should_upgrade()):  # a handshake needs them once more
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unmade = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._unmade = 0
        if not self._is_upgrade_to_ignore():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out."""
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last:
            self._say_last_words()

    # what cannot be read

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. Requests that came before it are answered before it."""
        said = msg.encode()
        headers = (*self.server_state.default_headers, (b"content-type", b"text/plain; charset=utf-8"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        self._end_with(
            b"%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[400], b"".join(lines), len(said), said)
        )

    def _end_with(self, answer: bytes) -> None:
        """Say this when all requests are answered that came whole, and close."""
        if self._last_words is not None:
            return
        self._last_words = answer
        newest: RequestResponseCycle | None = self.cycle  # uvicorn does not say that there is none at first
        if getattr(newest, "more_body", False):
            # It is its body that cannot be read: no other answer comes of it.
            if self.pipeline and self.pipeline[0][0] is newest:
                self.pipeline.popleft()
                return
        elif newest is not None and not newest.response_complete:
            return
        self._say_last_words()

    def _say_last_words(self) -> None:
        if self._last_words is not None and not self.transport.is_closing():
            self.transport.write(self._last_words)
            self.transport.close()

    # what is not spoken here: clients in Java ask each time whether it is HTTP/2

    def _is_upgrade_to_ignore(self) -> bool:
        """The parser looks at every `Connection`, uvicorn at one: where they differ, no WebSocket is meant."""
        return self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _unsupported_upgrade_warning(self) -> None:
        """The parser has stopped behind the head. A server may ignore the upgrade (RFC 9110, 7.8): read it without."""
        _, stopped, _ = sys.exc_info()
        if not isinstance(stopped, HttpParserUpgrade) or not self._is_upgrade_to_ignore():
            return
        kept = [header for header in map(_without_upgrade, self.headers) if header is not None]
        lines = [b"%b: %b\r\n" % header for header in kept]
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, b"".join(lines))
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._again = head + self._read[stopped.args[0] :]


def _without_upgrade(header: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
    name, value = header
    if name in _OF_AN_UPGRADE:
        return None
    if name == b"connection":
        return name, b", ".join(token for token in value.split(b",") if token.strip().lower() not in _OF_AN_UPGRADE)
    return header


_OF_AN_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})
