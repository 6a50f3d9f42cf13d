"""MySQL and MariaDB over TLS, with certificates of the tests' own, and what can be wrong with each of them."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from connector.broker.kafka import KafkaBroker
from connector.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    Unreachable,
    VecsyncError,
)
from connector.model import Lane
from connector.publish.log_state import read_to_end
from connector.settings import BrokerSettings, SourceSettings
from connector.upstream.mysql import open_connection
from tests.servers.certificates import Authority, Certificate
from tests.servers.fix_provider import server_needed
from tests.servers.fix_secure import SecureKafka
from tests.servers.fix_sql import fresh_database
from tests.servers.model import Provider, SqlDatabase, SqlServer
from tests.system.site import Site

PASSPHRASE = "phrase-of-the-client-key"


class Encrypted(NamedTuple):
    """A server whose certificate can be changed, and the account `strict` on it that needs one of the client's."""

    server: SqlServer
    files: Path
    right: Certificate
    client: Certificate
    password: str

    def show(self, certificate: Certificate) -> None:
        shutil.copy(certificate.cert, self.files / "server.crt")
        shutil.copy(certificate.key, self.files / "server.key")
        self.server.query("ALTER INSTANCE RELOAD TLS" if self.server.kind == "mysql" else "FLUSH SSL")

    def source(self, database: str, user: str, password: str, **tls: Any) -> dict[str, Any]:
        url = f"mysql://{user}@{self.server.host}:{self.server.port}/{database}"
        return {"kind": "mysql", "url": url, "password": password, "tls": tls}


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def encrypted(
    request: pytest.FixtureRequest, provider: Provider, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Encrypted]:
    kind = request.param
    files = tmp_path_factory.mktemp(f"{kind}-tls")
    right = authority.issue(f"{kind}-server")
    shutil.copy(right.cert, files / "server.crt")
    shutil.copy(right.key, files / "server.key")
    options = {
        "ssl_ca": str(authority.ca),
        "ssl_cert": str(files / "server.crt"),
        "ssl_key": str(files / "server.key"),
        "bind_address": "127.0.0.1,::1",
    }
    password = secrets.token_urlsafe(12)
    with ExitStack() as ending:
        with server_needed():
            server = ending.enter_context(provider.sql(kind, options))
        server.query(f"CREATE USER strict@'%%' IDENTIFIED BY '{password}' REQUIRE X509")
        server.query("GRANT ALL ON *.* TO strict@'%%'")
        client = authority.issue(f"{kind}-client", passphrase=PASSPHRASE)
        yield Encrypted(server, files, right, client, password)


@pytest.fixture
def database(encrypted: Encrypted) -> Iterator[SqlDatabase]:
    with fresh_database(encrypted.server) as found:
        yield found


def reach(section: dict[str, Any]) -> Any:
    """The cipher that a session is encrypted with, and its account."""
    connection = open_connection(SourceSettings.model_validate(section))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            return cursor.fetchall()[0][1]
    finally:
        connection.close()


def refusal(section: dict[str, Any]) -> VecsyncError:
    with pytest.raises(VecsyncError) as caught:
        reach(section)
    assert section["password"] not in f"{caught.value!r} {caught.value.hint}"
    return caught.value


def test_each_wrong_certificate_is_told(encrypted: Encrypted, authority: Authority, tmp_path: Path) -> None:
    user, password = encrypted.server.user, encrypted.server.password
    right = encrypted.source("", user, password, ca=authority.ca)
    right["url"] += "mysql"
    assert reach(right)
    assert reach({**right, "tls": None})  # encrypted where the server offers it, though nothing is checked
    other = Authority(tmp_path, "other")
    error = refusal({**right, "tls": {"ca": other.ca}})
    assert isinstance(error, CertificateRefused), error
    assert "source.tls.ca" in error.hint
    wrong = [(authority.issue("misnamed", ["db.example.org"]), "IP address mismatch")]
    if encrypted.server.kind == "mariadb":  # MySQL does not load one that has expired
        wrong.append((authority.issue("expired", expired=True), "expired"))
    try:
        for certificate, word in wrong:
            encrypted.show(certificate)
            error = refusal(right)
            assert isinstance(error, CertificateRefused), error
            assert word in str(error)
            assert (error.exit_code, error.retriable) == (6, False)
            assert reach({**right, "tls": {"ca": authority.ca, "verify": False}})
    finally:
        encrypted.show(encrypted.right)
    assert reach(right)


def test_an_account_that_needs_a_certificate(encrypted: Encrypted, authority: Authority, tmp_path: Path) -> None:
    client, ca = encrypted.client, authority.ca
    right = encrypted.source(
        "mysql", "strict", encrypted.password, ca=ca, cert=client.cert, key=client.key, key_password=PASSPHRASE
    )
    assert reach(right)
    assert isinstance(refusal({**right, "tls": {"ca": ca}}), AuthenticationFailed)
    for passphrase in ({"key_password": "another-phrase"}, {}):
        error = refusal({**right, "tls": {"ca": ca, "cert": client.cert, "key": client.key, **passphrase}})
        assert isinstance(error, ConfigurationError), error
        assert "key_password" in error.hint
        assert "another-phrase" not in str(error)
    stranger = Authority(tmp_path, "stranger").issue("client")
    error = refusal({**right, "tls": {"ca": ca, "cert": stranger.cert, "key": stranger.key}})
    assert isinstance(error, Unreachable), error  # by an alert, or by a connection that ends: as it happens to come


def test_ipv6(encrypted: Encrypted, authority: Authority) -> None:
    server = encrypted.server
    section = {
        "url": f"mysql://{server.user}@[::1]:{server.port}/mysql",
        "password": server.password,
        "tls": {"ca": authority.ca},
    }
    assert reach(section)
    error = refusal({**section, "url": f"mysql://{server.user}@[::1]:1/mysql"})
    assert "[::1]:1" in str(error)


def test_encrypted_where_it_can_be_unless_plaintext_is_asked_for(encrypted: Encrypted, authority: Authority) -> None:
    server = encrypted.server
    section = {"url": server.url("mysql"), "password": server.password}
    assert reach(section)
    assert not reach({**section, "plaintext": True})
    with pytest.raises(ValidationError, match="leave one of them out"):
        reach({**section, "plaintext": True, "tls": {"ca": authority.ca}})


def test_encryption_that_is_asked_for_is_never_left_out(mariadb_server: SqlServer) -> None:
    """That server has no certificate. Nothing of the password may be sent before that is noticed."""
    section = {"url": mariadb_server.url("mysql"), "password": mariadb_server.password, "tls": {"verify": False}}
    error = refusal(section)
    assert isinstance(error, ConfigurationError), error
    assert "source.tls" in error.hint


@pytest.mark.parametrize("encrypted", ["mysql"], indirect=True)  # MariaDB has no such cache
def test_a_cold_cache_of_passwords(encrypted: Encrypted, authority: Authority) -> None:
    """MySQL knows a password by its hash only once the account has logged in. The first time it wants the password
    itself: by TLS, or encrypted for a key of its own."""
    server = encrypted.server
    plugin = server.query("SELECT plugin FROM mysql.user WHERE user = %s", [server.user])
    assert plugin == [("caching_sha2_password",)]
    section = encrypted.source("mysql", server.user, server.password, ca=authority.ca)
    server.query("FLUSH PRIVILEGES")
    assert reach(section)
    versions = server.query("SELECT @@tls_version")[0][0]
    admin = server.connect()
    try:
        with admin.cursor() as cursor:
            cursor.execute("SET GLOBAL tls_version = ''")
            cursor.execute("ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR")
            cursor.execute("FLUSH PRIVILEGES")
            assert reach({**section, "tls": None}) == ""
            error = refusal({**section, "tls": None, "password": "not-the-word"})
            assert isinstance(error, AuthenticationFailed), error
            assert isinstance(refusal(section), ConfigurationError)
            cursor.execute("SET GLOBAL tls_version = %s", [versions])
            cursor.execute("ALTER INSTANCE RELOAD TLS")
    finally:
        admin.close()
    assert reach(section)


def test_the_whole_way_without_a_secret_in_sight(
    encrypted: Encrypted,
    database: SqlDatabase,
    authority: Authority,
    secure_kafka: SecureKafka,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    client, ca = encrypted.client, str(authority.ca)
    tls = {"ca": ca, "cert": str(client.cert), "key": str(client.key)}
    source = encrypted.source(database.name, "strict", "", **tls)
    del source["password"]
    key_text = client.key.read_text()
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": secure_kafka.user,
        "ssl.ca.location": ca,
        "ssl.key.pem": key_text,
        "ssl.certificate.pem": client.cert.read_text(),
        "ssl.key.password": PASSPHRASE,
        "debug": "security,conf,broker",
    }
    site = Site(
        tmp_path,
        {
            "source": {**source, "heartbeat_s": 1, "reconnect_max_s": 2},
            "broker": {
                "kind": "kafka",
                "bootstrap_servers": secure_kafka.server.listeners["SECURE"],
                "options": options,
            },
            "topics": {"prefix": topic_prefix, "partitions": 2, "max_message_bytes": 2**17},
            "publish": {"errors_tolerance": "all"},
            "replica": {"group": topic_prefix, "path": str(tmp_path / "replica.db")},
            "log": {"level": "debug"},
        },
        secrets={
            "VECSYNC_SOURCE__PASSWORD": encrypted.password,
            "VECSYNC_SOURCE__TLS__KEY_PASSWORD": PASSPHRASE,
            "VECSYNC_BROKER__PASSWORD": secure_kafka.password,
        },
    )
    site.run("--debug", "source", "install")
    database.execute(
        "INSERT INTO vec_dataset (dataset_id) VALUES ('d')",
        "INSERT INTO shadow_vec_docs (dataset_id, id, content, embedding, embedding_model, scn, archived)"
        " VALUES ('d', '1', 'heron', '', 'm', 1, 0), ('d', 'large', REPEAT('x', 140000), '', 'm', 2, 0)",
    )
    encrypted.show(authority.issue("misnamed", ["db.example.org"]))
    try:
        assert "IP address mismatch" in site.refused("--debug", "capture", "run", "--until-current", code=6)
    finally:
        encrypted.show(encrypted.right)
    site.refused("--debug", "capture", "run", "--until-current", code=6, VECSYNC_SOURCE__PASSWORD="not-it")
    site.run("--debug", "capture", "run", "--until-current")
    site.run("--debug", "replica", "run", "--until-current")
    assert site.search("heron", "--mode", "text") == ["1"]
    assert f"{topic_prefix}.dlq" in site.run("topics", "list").stdout
    shown = {entry["key"]: entry["value"] for entry in json.loads(site.run("config", "show", "--json").stdout)}
    assert shown["source.password"] == shown["source.tls.key_password"] == shown["broker.password"] == "*" * 10
    assert shown["broker.options"]["ssl.key.pem"] == shown["broker.options"]["ssl.key.password"] == "*" * 10
    site.run("config", "show")

    hidden = [*site.secrets.values(), *(line for line in key_text.splitlines() if "-----" not in line)]
    written = "".join(site.printed)
    assert "sasl.username" in written  # the client's own debugging was on
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path != site.config]
    records, headers = everything_on(secure_kafka, topic_prefix)
    assert headers
    for secret in hidden:
        assert secret not in written
        assert not [True for content in (*files, *records) if secret.encode() in content]


def everything_on(kafka: SecureKafka, prefix: str) -> tuple[list[bytes], list[str]]:
    """Keys, values and headers as they stand; and the headers' names."""
    broker = KafkaBroker(BrokerSettings(bootstrap_servers=kafka.server.bootstrap_servers), 2**20)
    admin = broker.admin()
    topics = admin.describe(list(admin.list(prefix)))
    begin = admin.beginning_offsets([Lane(t.name, p) for t in topics.values() for p in range(t.partitions)])
    admin.close()
    found: list[bytes] = []
    names: list[str] = []
    for record in read_to_end(broker, begin):
        found += [record.key or b"", record.value or b""]
        for name, value in record.headers:
            names.append(name)
            found += [name.encode(), value]
    assert found
    return found, names
