"""The signatures of payment providers: Standard Webhooks, HMAC-SHA256 over id, time and raw body, five minutes' tolerance.

Nothing turns this off: a provider without a secret is refused. standardwebhooks. Read next: `routes/webhooks.py`.
"""

from collections.abc import Mapping
from typing import Final

from standardwebhooks import Webhook

from api.call import Call
from api.errors import InvalidSignature
from ledger.settings import Settings, resolve_webhook_secrets

HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Signatures:
    """The secrets of each provider; several while one replaces another."""

    def __init__(self, secrets: Mapping[str, tuple[str, ...]]) -> None:
        """Each is `whsec_` and base64, as the settings have checked."""
        self._keys = {provider: [Webhook(secret) for secret in keys] for provider, keys in secrets.items()}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Signatures":
        """As `WEBHOOK_SECRETS` says; in development, without it, one provider `sandbox` with a generated secret."""
        return cls(resolve_webhook_secrets(settings))

    @property
    def providers(self) -> tuple[str, ...]:
        """Whoever may be paid through."""
        return tuple(sorted(self._keys))

    def check(self, provider: str, call: Call, body: bytes) -> str:
        """The delivery's id, if one of the provider's secrets has signed it just now. `InvalidSignature` if not."""
        headers = {name: call.headers.get(name.encode(), b"").decode("latin-1") for name in HEADERS}
        for key in self._keys.get(provider, ()):
            try:
                key.verify(body, headers, json_parse=False)
            except Exception:  # noqa: S112  # the library lets a malformed header end in any exception
                continue
            return headers["webhook-id"]
        raise InvalidSignature("The signature is missing, wrong, or older than five minutes.")
