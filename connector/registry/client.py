"""A schema registry over HTTP: the few calls of Confluent's API that are needed here, which Karapace and Apicurio have
too (below `/apis/ccompat/v7` there).

The password goes to the host of `registry.url` and nowhere else: redirects are not followed. Nothing is cached here.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from connector.errors import AuthenticationFailed, ConfigurationError, DifferenceFound, Unreachable
from connector.settings import RegistrySettings
from connector.tls import certificate_refused, client_context
from connector.wire.schemas import Schema

_TYPE = "application/vnd.schemaregistry.v1+json"
_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA = 40401, 40402, 40403
_NO_SETTING = 40408  # of compatibility, of one subject


class Registered(NamedTuple):
    subject: str
    version: int
    id: int


class _Answer(NamedTuple):
    status: int
    body: Any

    @property
    def absent(self) -> bool:
        code = self.body.get("error_code") if isinstance(self.body, dict) else None
        return self.status == 404 and code in (_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA, _NO_SETTING)


class RegistryClient:
    """settings.url must be there. Every call raises Unreachable, AuthenticationFailed, CertificateRefused, and
    ConfigurationError when what answers is no registry."""

    def __init__(self, settings: RegistrySettings) -> None:
        parts = urlsplit(settings.url or "")
        assert parts.hostname is not None, "settings check it"
        self._host, self._path = parts.hostname, parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._where = f"the schema registry at {parts.scheme}://{parts.netloc}"
        self._timeout_s = settings.timeout_s
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = client_context(settings.tls, "registry.tls") if settings.tls else ssl.create_default_context()
        self._headers = {"Accept": f"{_TYPE}, application/json", "Content-Type": _TYPE}
        if settings.user is not None:
            word = settings.password.get_secret_value() if settings.password else ""
            pair = base64.b64encode(f"{settings.user}:{word}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

    def schema(self, id: int) -> Schema | None:
        """The schema with that id, None when there is none."""
        answer = self._ask("GET", f"/schemas/ids/{id}")
        return None if answer.absent else self._schema_in(self._fine(answer))

    def find(self, subject: str, schema: Schema) -> Registered | None:
        """Where exactly that schema stands under the subject."""
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}", {"schema": _text(schema)})
        if answer.absent:
            return None
        body = self._fine(answer)
        return Registered(subject, body["version"], body["id"])

    def register(self, subject: str, schema: Schema) -> int:
        """Its id; nothing changes when it is there. Raises DifferenceFound when the registry finds it incompatible."""
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": _text(schema)})
        if answer.status == 409:
            raise DifferenceFound(
                f"{self._where} does not take the schema of {subject}: {_message(answer)}",
                hint="Run `vecsync schemas check` to see which version it differs from.",
            )
        id: int = self._fine(answer)["id"]
        return id

    def versions(self, subject: str) -> list[tuple[int, Schema]]:
        """Every version under the subject, oldest first; nothing when there is no such subject."""
        answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions")
        if answer.absent:
            return []
        found = []
        for number in sorted(self._fine(answer)):
            one = self._fine(self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/{number}"))
            found.append((number, self._schema_in(one)))
        return found

    def ask_for(self, subject: str, compatibility: str) -> None:
        """What the registry shall hold further versions of the subject to."""
        answer = self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": compatibility})
        self._fine(answer)

    def _schema_in(self, body: Any) -> Schema:
        if body.get("schemaType", "AVRO") != "AVRO":
            return None
        try:
            return json.loads(body["schema"])
        except ValueError as error:
            raise self._nonsense("a schema that is no JSON") from error

    def _fine(self, answer: _Answer) -> Any:
        if answer.status in (401, 403):
            raise AuthenticationFailed(
                f"{self._where} refuses: {_message(answer)}",
                hint="Check registry.user and VECSYNC_REGISTRY__PASSWORD, and what the account may do there.",
            )
        if answer.status >= 500:
            raise Unreachable(f"{self._where} fails: {_message(answer)}", hint="Look into the registry's own log.")
        if answer.status != 200:
            raise self._nonsense(_message(answer))
        return answer.body

    def _nonsense(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._where} answers: {what}",
            hint="Check registry.url: it ends where the registry's API begins (Apicurio: .../apis/ccompat/v7).",
        )

    def _ask(self, method: str, path: str, body: object = None) -> _Answer:
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self._path + path, data, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            refused = certificate_refused(error, self._where, "registry.tls")
            raise refused or Unreachable(
                f"{self._where} cannot be reached: {error}",
                hint="Check registry.url, and that the registry is running.",
            ) from error
        finally:
            connection.close()
        try:
            return _Answer(response.status, json.loads(content))
        except ValueError as error:
            if response.status == 200:
                raise self._nonsense("something that is no JSON") from error
            return _Answer(response.status, {"message": f"{response.status} {response.reason}"})


def _text(schema: Schema) -> str:
    return json.dumps(schema, separators=(",", ":"))


def _message(answer: _Answer) -> str:
    said = answer.body.get("message") if isinstance(answer.body, dict) else None
    return str(said or f"status {answer.status}")[:500]
