"""What librdkafka's error codes mean to the connector. Pure: nothing is logged or tried again here."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError, KafkaException

from connector.errors import (
    AuthenticationFailed,
    CertificateRefused,
    ConfigurationError,
    CorruptedLog,
    ForeignLog,
    Unreachable,
    VecsyncError,
)

_REFUSED_ACCOUNT = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_OTHER_LOG = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError._NO_OFFSET,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    }
)
_CORRUPTED = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG})
_REFUSED_SETTING = frozenset(
    {
        KafkaError._INVALID_ARG,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)

# librdkafka tells OpenSSL's reasons in its text only: a certificate of the broker's that does not stand, and, as an
# alert of the broker's, one of ours.
_CERTIFICATE = re.compile(r"certificate verify failed|alert .*(certificate|unknown ca)")

UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside an exception of the client."""
    inner = error.args[0]
    assert isinstance(inner, KafkaError)
    return inner


def meaning(error: KafkaError, doing: str) -> VecsyncError:
    """The error to raise. doing: what failed, such as `reading app.docs[3]`; it begins the message."""
    code, message = error.code(), f"{doing}: {error.str()} ({error.name()})"
    if code in _REFUSED_ACCOUNT:
        return AuthenticationFailed(
            message,
            hint="Check broker.options (security.protocol, sasl.mechanism, sasl.username), VECSYNC_BROKER__PASSWORD, "
            "and what the broker permits that account.",
        )
    if code in (KafkaError._SSL, KafkaError._TRANSPORT) and _CERTIFICATE.search(error.str()):
        return CertificateRefused(
            message,
            hint="ssl.ca.location in broker.options has to hold the authority that signed the broker's certificate, "
            "which has to name the host in broker.bootstrap_servers and be valid today; where the broker asks for one, "
            "ssl.certificate.location and ssl.key.location are ours.",
        )
    if code in _OTHER_LOG:
        return ForeignLog(message)
    if code in _CORRUPTED:
        return CorruptedLog(message)
    if code in _REFUSED_SETTING:
        return ConfigurationError(message)
    return Unreachable(
        message,
        hint="Check broker.bootstrap_servers, that the brokers are running, and security.protocol in broker.options: "
        "a listener with TLS and a client without, or the other way round, do not understand each other.",
    )
