"""The whole way through a real schema registry, and what happens where it and the log do not agree."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import schemaless_reader
from fastavro.schema import parse_schema

from connector.broker import Record, connect
from connector.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    DifferenceFound,
    Unreachable,
)
from connector.model import Lane
from connector.publish.log_state import read_to_end
from connector.registry import RegistryClient
from connector.registry.subjects import RECORDS, VALUE
from connector.settings import RegistrySettings, Settings, load
from connector.topics import positions_topic
from tests.servers.certificates import Authority, Certificate
from tests.servers.model import KafkaServer, RegistryServer
from tests.system.site import Site, embedded_log, kafka_log


def make(directory: Path, log: Any, prefix: str, registry: RegistryServer, **more: Any) -> Site:
    sections = {
        "source": {"kind": "sqlite", "url": f"sqlite:///{directory / 'upstream.db'}"},
        "replica": {"path": str(directory / "replica.db"), "group": prefix},
        **log,
        "registry": {"url": registry.url, "user": "vecsync", **more},
    }
    sections["topics"]["prefix"] = prefix
    return Site(directory, sections, secrets={"VECSYNC_REGISTRY__PASSWORD": "registry-word"})


def write(site: Site, text: str) -> None:
    (site.directory / "note.txt").write_text(text)
    site.run("ingest", "note.txt", "--dataset", "d")


def settings(site: Site) -> Settings:
    return load(site.config)


def raw(site: Site, topic: str) -> list[Record]:
    """The records as they stand on the log."""
    config = settings(site)
    broker = connect.open_broker(config)
    admin = broker.admin()
    begin = admin.beginning_offsets([Lane(topic, p) for p in range(admin.describe([topic])[topic].partitions)])
    admin.close()
    return list(read_to_end(broker, begin))


def ask(registry: RegistryServer, path: str, body: Any = None, method: str = "GET") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(registry.url + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def as_a_stranger_reads(registry: RegistryServer, value: bytes) -> Any:
    """With nothing but the value and the registry."""
    assert value[0] == 0
    schema = json.loads(ask(registry, f"/schemas/ids/{int.from_bytes(value[1:5], 'big')}")["schema"])
    stream = BytesIO(value[5:])
    event = schemaless_reader(stream, parse_schema(schema), None)
    assert stream.read() == b""
    return event


def data_topic(site: Site) -> str:
    return f"{site.sections['topics']['prefix']}.main.shadow_vec_docs"


def test_registered_by_hand_then_the_whole_way(
    kafka_server: KafkaServer, registry_server: RegistryServer, topic_prefix: str, tmp_path: Path
) -> None:
    site = make(tmp_path, kafka_log(kafka_server, topic_prefix), topic_prefix, registry_server)
    topic = data_topic(site)
    site.run("source", "install")
    write(site, "the heron waits")
    said = site.refused("capture", "run", "--until-current", code=3)
    assert f"{topic}-value" in said
    assert "schemas register" in said
    assert "schemas register" in site.refused("schemas", "check", code=5)
    made = json.loads(site.run("schemas", "register", "--json").stdout)
    assert {subject["subject"] for subject in made} == {
        *(f"{topic}-value", f"{topic}.tombstones-value", f"{topic_prefix}.dlq-value"),
    }
    assert "FULL_TRANSITIVE" in ask(registry_server, f"/config/{topic}-value").values()
    assert "agree" in site.run("schemas", "check").stdout
    site.capture()

    records = raw(site, topic)
    events = [as_a_stranger_reads(registry_server, record.value or b"") for record in records]
    assert [e["after"]["content"] for e in events if "id" in e] == ["the heron waits"]
    assert {(record.key or b"?")[:1] for record in records} <= {b"\x00", b"\x02", b"\x04"}  # keys are as ever
    assert {(record.value or b"")[:2] for record in raw(site, positions_topic(topic_prefix))} == {b"\xc3\x01"}
    site.apply()
    assert len(site.search("heron", "--mode", "text")) == 1

    # Without the registry capture goes on in the other frame; a replica that has to read both needs the registry.
    site.change(registry={"url": None})
    write(site, "the heron flies")
    site.capture()
    assert {(record.value or b"")[:1] for record in raw(site, topic)} == {b"\x00", b"\xc3"}
    site.apply()
    assert len(site.search("flies", "--mode", "text")) == 1
    site.change(replica={"path": str(tmp_path / "another.db"), "group": f"{topic_prefix}-2"})
    said = site.refused("replica", "run", "--until-current", code=7)
    assert "registry.url" in said
    assert topic in said  # its data or its tombstones: whichever was read first
    assert "at offset 0" in said
    site.change(registry={"url": registry_server.url})
    site.apply()
    assert len(site.search("flies", "--mode", "text")) == 1


def test_by_record_and_registered_on_the_way(
    registry_server: RegistryServer, topic_prefix: str, tmp_path: Path
) -> None:
    """And records of versions that this one has never seen: read where Avro's rules allow, refused where not."""
    log = embedded_log(tmp_path)
    options = {"subject_strategy": "record", "auto_register": True}
    site = make(tmp_path, log, topic_prefix, registry_server, **options)
    topic = data_topic(site)
    site.run("source", "install")
    write(site, "the heron waits")
    site.capture()
    records = raw(site, topic)
    documents = [r for r in records if "content" in str(as_a_stranger_reads(registry_server, r.value or b""))]
    assert documents
    site.apply()
    write(site, "the heron flies")
    site.capture()  # reads its own tail first
    listed = json.loads(site.run("schemas", "list", "--json").stdout)
    assert {s["subject"] for s in listed["subjects"]} == {kind.name for kind in RECORDS} | {"vecsync.Tombstone"}
    assert all(s["id"] for s in listed["subjects"])
    site.run("--debug", "config", "show")  # looks for the password as every run does
    assert {f["file"] for f in listed["files"]} == {"key.avsc", "value.avsc", "tombstone.avsc", "position.avsc"}

    later = json.loads(json.dumps(RECORDS[0].schema))
    later["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    id = ask(registry_server, f"/subjects/{topic_prefix}-later/versions", {"schema": json.dumps(later)}, "POST")["id"]
    newer = [record for record in raw(site, topic) if (record.key or b"")[:1] == b"\0"][-1]  # of a document
    append(site, newer, b"\0" + id.to_bytes(4, "big") + (newer.value or b"")[5:] + b"\x02\x06red")
    site.apply()
    assert len(site.search("flies", "--mode", "text")) == 1

    broken = json.loads(json.dumps(RECORDS[0].schema))
    del broken["fields"][1]
    id = ask(registry_server, f"/subjects/{topic_prefix}-broken/versions", {"schema": json.dumps(broken)}, "POST")["id"]
    append(site, newer, b"\0" + id.to_bytes(4, "big") + b"whatever")
    for _ in range(2):  # it stays where it is
        said = site.refused("replica", "run", "--until-current", code=7)
        assert f"id {id}" in said
        assert f"{topic}[" in said


def append(site: Site, like: Record, value: bytes) -> None:
    producer = connect.open_broker(settings(site)).producer(lambda lane, offset: None)
    producer.send(Lane(like.topic, like.partition), like.key, value)
    producer.flush(10)
    producer.close()


def test_a_version_that_does_not_agree_is_found(
    registry_server: RegistryServer, topic_prefix: str, tmp_path: Path
) -> None:
    site = make(tmp_path, embedded_log(tmp_path), topic_prefix, registry_server)
    subject = f"{data_topic(site)}-value"
    broken = json.loads(json.dumps(VALUE.schema))
    broken[0]["fields"] = [field for field in broken[0]["fields"] if field["name"] != "scn"]
    ask(registry_server, f"/subjects/{subject}/versions", {"schema": json.dumps(broken)}, "POST")
    site.run("schemas", "check", code=5)
    assert "DocChange.scn is missing and has no default" in site.printed[-1]
    assert f"{subject} version 1" in site.printed[-1]
    ask(registry_server, f"/config/{subject}", {"compatibility": "FULL_TRANSITIVE"}, "PUT")
    with pytest.raises(DifferenceFound, match=subject):
        client(registry_server.url).register(subject, VALUE.schema)
    site.change(registry={"url": registry_server.url.replace("/apis/", "/elsewhere/")})
    assert "registry.url" in site.refused("schemas", "check", code=3)
    site.change(registry={"url": "http://127.0.0.1:9"})
    site.refused("schemas", "check", code=6)


def client(url: str, **more: Any) -> RegistryClient:
    return RegistryClient(RegistrySettings.model_validate({"url": url, "timeout_s": 5, **more}))


class _Guarded(BaseHTTPRequestHandler):
    """Says what it was asked, to one account only; elsewhere it sends others on, or fails."""

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(b"vecsync:registry-word").decode()
        if self.path.endswith("/1"):
            status, body = (200, {"schema": '"string"'}) if self.headers["Authorization"] == wanted else (401, {})
        elif self.path.endswith("/2"):
            status, body = 302, {}
        else:
            status, body = 503, {"message": "down for now"}
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def guarded(certificate: Certificate) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Guarded)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_account_and_certificate(authority: Authority) -> None:
    right = {"user": "vecsync", "password": "registry-word", "tls": {"ca": authority.ca}}
    with guarded(authority.issue("registry")) as url:
        assert client(url, **right).schema(1) == "string"
        with pytest.raises(AuthenticationFailed, match="refuses") as refused:
            client(url, **{**right, "password": "another-word"}).schema(1)
        assert "another-word" not in f"{refused.value!r} {refused.value.hint}"
        with pytest.raises(ConfigurationError):  # redirects are not followed: the account is for this host
            client(url, **right).schema(2)
        with pytest.raises(Unreachable, match="down for now"):
            client(url, **right).schema(3)
        with pytest.raises(CertificateRefused) as distrusted:
            client(url, user="vecsync").schema(1)
        assert "registry.tls.ca" in distrusted.value.hint
    misnamed = authority.issue("misnamed-registry", ["registry.example.org"])
    with guarded(misnamed) as url, pytest.raises(CertificateRefused, match="IP address mismatch"):
        client(url, **right).schema(1)
