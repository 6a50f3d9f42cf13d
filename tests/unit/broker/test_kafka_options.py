"""The options that librdkafka gets: ours, the user's, and those that nobody may change."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from connector.broker.connect import open_broker
from connector.broker.kafka import KafkaBroker
from connector.broker.kafka_errors import kafka_error, meaning
from connector.broker.kafka_log import log
from connector.broker.kafka_options import consumer_options, largest_record, producer_options
from connector.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    CorruptedLog,
    ForeignLog,
    Unreachable,
    VecsyncError,
)
from connector.settings import BrokerSettings, Settings

MAX_BYTES = 2**20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.idempotence", False),
        ("enable.idempotence", "FALSE"),
        ("acks", 1),
        ("request.required.acks", "0"),
        ("enable.gapless.guarantee", "false"),
        ("message.timeout.ms", 30000),
        ("delivery.timeout.ms", 30000),
        ("queuing.strategy", "lifo"),
        ("delivery.report.only.error", True),
        ("enable.auto.commit", True),
        ("enable.partition.eof", False),
        ("auto.offset.reset", "earliest"),
        ("check.crcs", False),
        ("transactional.id", "x"),
        ("group.id", "g"),
        ("bootstrap.servers", "elsewhere:9092"),
        ("metadata.broker.list", "elsewhere:9092"),
        ("message.max.bytes", 10),
        ("test.mock.num.brokers", 3),
    ],
)
def test_options_that_a_guarantee_needs_cannot_be_changed(name: str, value: str | int | bool) -> None:
    settings = Settings(broker=BrokerSettings(options={name: value}))
    with pytest.raises(ConfigurationError, match=name.replace(".", r"\.")):
        open_broker(settings)


def test_options_pass_through() -> None:
    settings = BrokerSettings(
        options={
            "linger.ms": 7,
            "enable.idempotence": True,
            "acks": "all",
            "fetch.wait.max.ms": 9,
            "ssl.ca.location": "x",
        },
        password=SecretStr("p"),
    )
    producer, consumer = producer_options(settings, MAX_BYTES), consumer_options(settings, "g", MAX_BYTES)
    assert (producer["linger.ms"], producer["enable.idempotence"], producer["acks"]) == ("7", "true", "all")
    assert (consumer["fetch.wait.max.ms"], consumer["group.id"], consumer["sasl.password"]) == ("9", "g", "p")


def test_ours_are_what_the_guarantees_need() -> None:
    producer = producer_options(BrokerSettings(), MAX_BYTES)
    assert producer["enable.idempotence"] == producer["enable.gapless.guarantee"] == "true"
    assert (producer["acks"], producer["message.timeout.ms"]) == ("all", "0")
    consumer = consumer_options(BrokerSettings(), "g", MAX_BYTES)
    assert (consumer["auto.offset.reset"], consumer["check.crcs"]) == ("error", "true")
    assert (consumer["enable.auto.commit"], consumer["enable.partition.eof"]) == ("false", "true")


@pytest.mark.parametrize("max_bytes", [2**16, 2**20, 2**24, 2**28])
def test_sizes_agree_whatever_the_largest_record(max_bytes: int) -> None:
    producer = producer_options(BrokerSettings(), max_bytes)
    assert int(producer["batch.size"]) <= min(max_bytes, 1_048_588)
    assert int(producer["message.max.bytes"]) == max_bytes
    assert int(producer["queue.buffering.max.kbytes"]) * 1024 >= max_bytes
    consumer = consumer_options(BrokerSettings(), "g", max_bytes)
    assert max_bytes <= int(consumer["fetch.max.bytes"]) < int(consumer["receive.message.max.bytes"])
    broker = KafkaBroker(BrokerSettings(bootstrap_servers="127.0.0.1:9"), max_bytes)
    broker.producer(lambda lane, offset: None).close()  # the client itself finds nothing wrong with them
    broker.consumer("g").close()


def test_the_framing_fits_whatever_is_left_of_a_record() -> None:
    assert 2**16 - 200 < largest_record(2**16) < 2**16


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._AUTHENTICATION, AuthenticationFailed),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AuthenticationFailed),
        (KafkaError._AUTO_OFFSET_RESET, ForeignLog),
        (KafkaError._LOG_TRUNCATION, ForeignLog),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ForeignLog),
        (KafkaError._BAD_MSG, CorruptedLog),
        (KafkaError.INVALID_REPLICATION_FACTOR, ConfigurationError),
        (KafkaError._TRANSPORT, Unreachable),
        (KafkaError.NOT_ENOUGH_REPLICAS, Unreachable),
    ],
)
def test_what_the_clients_codes_mean(code: int, expected: type[VecsyncError]) -> None:
    error = kafka_error(KafkaException(KafkaError(code)))
    said = meaning(error, "reading app.docs[3]")
    assert type(said) is expected
    assert str(said).startswith("reading app.docs[3]: ")
    assert error.name() in str(said)
    assert said.hint


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (KafkaError._SSL, "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed", True),
        (KafkaError._TRANSPORT, "error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert", True),
        (KafkaError._TRANSPORT, "error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert number 48", True),
        (KafkaError._SSL, "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", False),
        (KafkaError._TRANSPORT, "Connect to ipv4#127.0.0.1:9092 failed: Connection refused", False),
    ],
)
def test_a_certificate_is_told_from_other_trouble(code: int, text: str, expected: bool) -> None:
    said = meaning(KafkaError(code, text), "connecting to Kafka")
    assert isinstance(said, CertificateRefused) is expected
    assert said.retriable is not expected


def test_what_a_broker_says_again_is_logged_once() -> None:
    def record(milliseconds: int) -> logging.LogRecord:
        text = f"FAIL [thrd:x]: SSL handshake failed (after {milliseconds}ms in state SSL_HANDSHAKE)"
        return logging.LogRecord("x", logging.ERROR, __file__, 1, text, (), None)

    (telling,) = log.filters
    assert isinstance(telling, logging.Filter)
    assert [telling.filter(record(n)) for n in (5, 6, 17)] == [True, False, False]
