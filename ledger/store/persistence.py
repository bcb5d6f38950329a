"""A persistence module for the `eventsourcing` library: `PERSISTENCE_MODULE=ledger.store.persistence` reads our log.

Settings, each also with an application's name before it: `DATABASE_DIRECT_URL` or `DATABASE_URL`; `RECORDER_WRITABLE`
(no); `RECORDER_ROLE` (the role taken on, ledger_read, or ledger_api to write; empty: the login's own). A projection's
own view needs a persistence module of its own, for instance `MYPROJECTION_PERSISTENCE_MODULE=eventsourcing.postgres`.
Imports the library. Read next: `recorder.py`; an example is `tests/contract/test_eventsourcing_projection.py`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    InfrastructureFactory,
    InfrastructureFactoryError,
    Mapper,
    NotSupportedError,
    ProgrammingError,
    StoredEvent,
    TrackingRecorder,
    Transcoder,
)
from eventsourcing.utils import register_topic, resolve_topic, strtobool

from ledger.store import codec
from ledger.store.recorder import LedgerRecorder


def _of_stream(event: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """A subclass, so that `@process_event.register` on our own event class finds it."""
    fields = [("originator_id", str), ("originator_version", int)]
    return msgspec.defstruct(event.__name__, fields, bases=(event,), frozen=True, kw_only=True, rename="camel")


OF_STREAM: Final[Mapping[type[msgspec.Struct], type[msgspec.Struct]]] = {
    event: _of_stream(event) for event in codec.TAGS.values()
}
"""Our event class → the same with originator_id (the stream) and originator_version."""
_PLAIN: Final[Mapping[type, Any]] = {with_origin: event for event, with_origin in OF_STREAM.items()}

for _tag, _event in codec.TAGS.items():
    register_topic(_tag, OF_STREAM[_event])


class StructTranscoder(Transcoder):
    """JSON by msgspec, as in the log."""

    def encode(self, obj: Any) -> bytes:
        """Any value that msgspec knows."""
        return codec.encode(obj)

    def decode(self, data: bytes) -> Any:
        """Dicts, lists and plain values."""
        return msgspec.json.decode(data)


class StructMapper(Mapper[str]):
    """Stored events ↔ our Structs with their stream and version; the topic is our tag, never a module's path."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """One of our events, as `event_of_stream` makes them."""
        plain = _PLAIN.get(type(domain_event))
        if plain is None:
            raise ProgrammingError(f"{type(domain_event).__qualname__} is none of the ledger's events.")
        event = plain(*(getattr(domain_event, field) for field in plain.__struct_fields__))
        return StoredEvent(
            domain_event.originator_id, domain_event.originator_version, codec.tag_of(event), codec.encode(event)
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Upcast to its newest version. What cannot be read is a `CorruptionError`."""
        event = codec.decode(stored_event.topic, stored_event.state)
        domain_event: DomainEventProtocol[str] = event_of_stream(
            event, str(stored_event.originator_id), stored_event.originator_version
        )
        return domain_event


def event_of_stream(event: msgspec.Struct, stream: str, version: int) -> Any:
    """The event as the library wants it: with `originator_id` and `originator_version`."""
    fields = {field: getattr(event, field) for field in event.__struct_fields__}
    return OF_STREAM[type(event)](**fields, originator_id=stream, originator_version=version)


class LedgerFactory(InfrastructureFactory[TrackingRecorder]):
    """What the library asks for when it is told to use this module."""

    def __init__(self, env: Any) -> None:
        """`env` as the library passes it."""
        super().__init__(env)
        self._recorders: list[LedgerRecorder] = []

    def transcoder(self) -> Transcoder:
        """Ours, unless TRANSCODER_TOPIC names another."""
        return super().transcoder() if self.env.get(self.TRANSCODER_TOPIC) else StructTranscoder()

    def mapper(self, transcoder: Transcoder | None = None, mapper_class: Any = None) -> Any:
        """Ours, unless another is asked for. The log is neither compressed nor encrypted: hashes cover its bytes."""
        if self.env.get(self.COMPRESSOR_TOPIC) or self.env.get(self.CIPHER_TOPIC) or self.env.get("CIPHER_KEY"):
            raise NotSupportedError("The ledger's events are stored as they are.")
        if mapper_class is None:
            topic = self.env.get(self.MAPPER_TOPIC)
            mapper_class = resolve_topic(topic) if topic else StructMapper
        return mapper_class(transcoder=transcoder or self.transcoder())

    def application_recorder(self) -> LedgerRecorder:
        """A recorder on a thread of its own, closed with the factory."""
        dsn = self.env.get("DATABASE_DIRECT_URL") or self.env.get("DATABASE_URL")
        if not dsn:
            raise InfrastructureFactoryError("Set DATABASE_URL to the ledger's database.")
        writable = strtobool(self.env.get("RECORDER_WRITABLE", "no"))
        role = self.env.get("RECORDER_ROLE", "ledger_api" if writable else "ledger_read")
        recorder = LedgerRecorder(dsn, writable=writable, role=role or None)
        self._recorders.append(recorder)
        return recorder

    def aggregate_recorder(self, purpose: str = "events") -> LedgerRecorder:
        """As `application_recorder`. Snapshots are made by the ledger itself."""
        if purpose != "events":
            raise NotSupportedError("The ledger makes its snapshots itself; leave IS_SNAPSHOTTING_ENABLED off.")
        return self.application_recorder()

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Any:  # noqa: ARG002  # the library's signature
        """Refused: read models made by others live in their own database."""
        name = self.env.name.upper() or "<PROJECTION>"
        raise NotSupportedError(f"The ledger keeps nobody's views: set {name}_PERSISTENCE_MODULE to where yours live.")

    def process_recorder(self) -> Any:
        """Refused: see `tracking_recorder`."""
        raise NotSupportedError("The ledger is written by its own commands, not by policies.")

    def close(self) -> None:
        """Close the recorders it made."""
        for recorder in self._recorders:
            recorder.close()


class Ledger(Application[str]):
    """The log as an application of the library: what a `ProjectionRunner` is given as `application_class`."""

    name = "Ledger"
    env: ClassVar[dict[str, str]] = {"LEDGER_PERSISTENCE_MODULE": "ledger.store.persistence"}
