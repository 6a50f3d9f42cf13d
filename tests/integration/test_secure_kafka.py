"""Kafka with TLS and passwords, set up for real: the whole way through it, and each thing that can be wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.broker.kafka import KafkaBroker
from connector.errors import AuthenticationFailed, CertificateRefused, ConfigurationError, Unreachable, VecsyncError
from connector.settings import BrokerSettings
from tests.servers.certificates import Authority
from tests.servers.fix_secure import SecureKafka
from tests.system.site import Site


def section(kafka: SecureKafka, authority: Authority, listener: str = "SECURE", **options: str) -> dict[str, Any]:
    return {
        "kind": "kafka",
        "bootstrap_servers": kafka.server.listeners[listener],
        "options": {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": kafka.user,
            "ssl.ca.location": str(authority.ca),
        }
        | options,
    }


@pytest.fixture
def site(secure_kafka: SecureKafka, authority: Authority, topic_prefix: str, tmp_path: Path) -> Site:
    sections = {
        "source": {"kind": "sqlite", "url": f"sqlite:///{tmp_path / 'upstream.db'}", "reconnect_max_s": 1},
        "broker": section(secure_kafka, authority),
        "topics": {"prefix": topic_prefix, "partitions": 2},
        "replica": {"group": topic_prefix, "path": str(tmp_path / "replica.db")},
    }
    return Site(tmp_path, sections, secrets={"VECSYNC_BROKER__PASSWORD": secure_kafka.password})


def write(site: Site, text: str) -> None:
    (site.directory / "note.txt").write_text(text)
    site.run("ingest", "note.txt", "--dataset", "d")


def test_what_was_refused_is_not_lost(site: Site, secure_kafka: SecureKafka, authority: Authority) -> None:
    """The service as an operator sees it: refused for the password, for the certificate; mended, and complete."""
    site.run("source", "install")
    write(site, "the heron waits")
    site.capture()
    write(site, "the heron flies")
    said = site.refused("capture", "run", "--until-current", code=6, VECSYNC_BROKER__PASSWORD="not-the-word")
    assert "Authentication failed" in said
    assert "VECSYNC_BROKER__PASSWORD" in said
    site.change(broker=section(secure_kafka, authority, "EXPIRED"))
    said = site.refused("capture", "run", "--until-current", code=6)
    assert "certificate" in said
    assert "ssl.ca.location" in said
    assert "be valid today" in said
    site.change(broker=section(secure_kafka, authority))
    site.capture()
    site.apply()
    assert len(site.search("flies", "--mode", "text")) == 1


def refusal(broker: dict[str, Any], password: str, patience_s: float = 60) -> VecsyncError:
    """What is refused is told at once, unless the machine is busy; silence only when patience has ended."""
    admin = KafkaBroker(BrokerSettings.model_validate({**broker, "password": password}), 2**20).admin()
    admin._request_s = patience_s
    try:
        with pytest.raises(VecsyncError) as caught:
            admin.list("")
    finally:
        admin.close()
    assert password not in f"{caught.value!r} {caught.value.hint}"
    return caught.value


def test_each_wrong_thing_is_told_from_the_others(
    secure_kafka: SecureKafka, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    word = secure_kafka.password
    for broker in (
        section(secure_kafka, authority, **{"ssl.ca.location": str(other.ca)}),
        section(secure_kafka, authority, "MISNAMED"),
        section(secure_kafka, authority, "EXPIRED"),
    ):
        error = refusal(broker, word)
        assert isinstance(error, CertificateRefused), error
        assert (error.exit_code, error.retriable) == (6, False)
        assert "ssl.ca.location" in error.hint
    error = refusal(section(secure_kafka, authority), "wrong-word")
    assert isinstance(error, AuthenticationFailed), error
    error = refusal(section(secure_kafka, authority, **{"sasl.mechanism": "PLAIN"}), word)
    assert isinstance(error, AuthenticationFailed), error
    error = refusal(section(secure_kafka, authority, **{"security.protocol": "SASL_PLAINTEXT"}), word, 3)
    assert type(error) is Unreachable, error
    assert "security.protocol" in error.hint


def test_a_file_that_is_not_there(secure_kafka: SecureKafka, authority: Authority) -> None:
    broker = section(secure_kafka, authority, **{"ssl.ca.location": "/nowhere/ca.pem"})
    settings = BrokerSettings.model_validate({**broker, "password": secure_kafka.password})
    with pytest.raises(ConfigurationError, match=r"ssl\.ca\.location"):
        KafkaBroker(settings, 2**20).admin()


def test_a_certificate_of_ours(secure_kafka: SecureKafka, authority: Authority, tmp_path: Path) -> None:
    def mutual(cert: Path, key: Path, passphrase: str) -> dict[str, Any]:
        options = {"security.protocol": "SSL", "ssl.ca.location": str(authority.ca)}
        options |= {"ssl.certificate.location": str(cert), "ssl.key.location": str(key)}
        options |= {"ssl.key.password": passphrase}
        return {"bootstrap_servers": secure_kafka.server.listeners["MUTUAL"], "options": options}

    ours = authority.issue("client", passphrase="pass-phrase-of-ours")
    admin = KafkaBroker(
        BrokerSettings.model_validate(mutual(ours.cert, ours.key, "pass-phrase-of-ours")), 2**20
    ).admin()
    assert list(admin.list("no-such-")) == []
    admin.close()
    stranger = Authority(tmp_path, "stranger").issue("client", passphrase="pass-phrase-of-theirs")
    error = refusal(mutual(stranger.cert, stranger.key, "pass-phrase-of-theirs"), "unused-word")
    assert isinstance(error, CertificateRefused), error
    with pytest.raises(ConfigurationError) as caught:
        KafkaBroker(BrokerSettings.model_validate(mutual(ours.cert, ours.key, "another-phrase")), 2**20).admin()
    assert "another-phrase" not in str(caught.value)


def test_a_broker_on_ipv6(secure_kafka: SecureKafka) -> None:
    address = secure_kafka.server.listeners["SIXTH"]
    assert address.startswith("[::1]:")
    admin = KafkaBroker(BrokerSettings(bootstrap_servers=address), 2**20).admin()
    assert list(admin.list("no-such-")) == []
    admin.close()
