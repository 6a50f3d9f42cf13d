"""librdkafka's configuration for each kind of client: our defaults, the user's options, and what nobody may change.

Options pass through to every client. Those that would take away a guarantee are refused by name; so are those that
have a setting of their own. Pure; a password goes from here into the client and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from connector.errors import ConfigurationError
from connector.settings import BrokerSettings

Options = Mapping[str, str]

_ALIASES = {
    "request.required.acks": "acks",
    "delivery.timeout.ms": "message.timeout.ms",
    "metadata.broker.list": "bootstrap.servers",
    "compression.codec": "compression.type",
    "queue.buffering.max.ms": "linger.ms",
    "max.partition.fetch.bytes": "fetch.message.max.bytes",
}

# Values that may be given although they change nothing; every other value breaks what the second part says.
_FIXED: Mapping[str, tuple[frozenset[str], str]] = {
    "enable.idempotence": (frozenset({"true"}), "a retry could write a record twice, or out of order"),
    "enable.gapless.guarantee": (frozenset({"true"}), "records behind one that failed could still be written"),
    "acks": (frozenset({"all", "-1"}), "an acknowledged record could be lost with its broker"),
    "message.timeout.ms": (frozenset({"0"}), "a record that times out leaves a gap that nothing would notice"),
    "queuing.strategy": (frozenset({"fifo"}), "records could be written out of order"),
    "delivery.report.only.error": (frozenset({"false"}), "acknowledgements would not be seen"),
    "enable.auto.commit": (frozenset({"false"}), "offsets would be published before they are reached"),
    "enable.partition.eof": (frozenset({"true"}), "the end of a partition would not be seen"),
    "auto.offset.reset": (frozenset({"error"}), "records that are gone would be passed over in silence"),
    "check.crcs": (frozenset({"true"}), "a corrupted record would be read"),
}

_ELSEWHERE: Mapping[str, str] = {
    "bootstrap.servers": "broker.bootstrap_servers",
    "sasl.password": "VECSYNC_BROKER__PASSWORD or a secrets file",
    "message.max.bytes": "topics.max_message_bytes",
    "group.id": "replica.group",
}

_REFUSED: Mapping[str, str] = {
    "transactional.id": "the connector does not use Kafka's transactions",
    "test.mock.num.brokers": "it would replace the broker by a mock that keeps nothing",
}

_BATCH_BYTES = 1_000_000
"""Below the 1,048,588 bytes that a topic takes unless told otherwise: a batch counts as one message there."""

_FRAMING_BYTES = 128
"""What a batch of one record can add to key, value and headers: 61 for the batch, the rest for the record's own."""

_QUEUE_KIB = 64 * 1024


def check_options(options: Mapping[str, str | int | float | bool]) -> Options:
    """The options as text. Raises ConfigurationError for those that may not be given."""
    checked: dict[str, str] = {}
    for name, given in options.items():
        value = str(given).lower() if isinstance(given, bool) else str(given)
        known = _ALIASES.get(name, name)
        place = f"broker.options: {name}"
        if known in _ELSEWHERE:
            raise ConfigurationError(f"{place} has a setting of its own: {_ELSEWHERE[known]}")
        if known in _REFUSED:
            raise ConfigurationError(f"{place} cannot be set: {_REFUSED[known]}")
        if known in _FIXED and value.lower() not in _FIXED[known][0]:
            allowed, why = _FIXED[known]
            raise ConfigurationError(
                f"{place} is {value}, and must stay {min(allowed)}: else {why}",
                hint=f"Remove {name} from broker.options.",
            )
        checked[known] = value
    return checked


def common_options(broker: BrokerSettings) -> dict[str, str]:
    options = {
        "bootstrap.servers": broker.bootstrap_servers,
        "client.id": "vecsync",
        "socket.keepalive.enable": "true",
        # Requests wait for each other otherwise (Nagle's algorithm), by up to 40 ms.
        "socket.nagle.disable": "true",
    }
    options |= check_options(broker.options)
    if broker.password is not None:
        options["sasl.password"] = broker.password.get_secret_value()
    return options


def producer_options(broker: BrokerSettings, max_message_bytes: int) -> dict[str, str]:
    """message.max.bytes leaves room for the framing: what may be sent is decided before librdkafka sees it."""
    defaults = {
        "enable.idempotence": "true",
        "enable.gapless.guarantee": "true",
        "acks": "all",
        "message.timeout.ms": "0",
        # Vectors do not get smaller, and three processes would spend their time on it. The client's own default, too.
        "compression.type": "none",
        # Each partition's batch is a request of its own, and many small requests are what a broker spends its time on.
        # Nobody waits for this long but while more is at hand (`hurry`).
        "linger.ms": "25",
        # While two requests are on their way the next records gather into larger batches: a third more rows a second
        # under load, and nothing is waited for when there is little to send.
        "max.in.flight.requests.per.connection": "2",
        "batch.size": str(min(_BATCH_BYTES, max_message_bytes)),
        "batch.num.messages": "20000",
        "queue.buffering.max.messages": "200000",
        "queue.buffering.max.kbytes": str(max(_QUEUE_KIB, 2 * max_message_bytes // 1024)),
        "message.max.bytes": str(max_message_bytes),
    }
    return defaults | common_options(broker)


def consumer_options(broker: BrokerSettings, group: str, max_message_bytes: int) -> dict[str, str]:
    fetch_bytes = max(16 * 2**20, max_message_bytes)
    sizes = {
        "fetch.max.bytes": str(fetch_bytes),
        "receive.message.max.bytes": str(max(100_000_000, fetch_bytes + 2**20)),
    }
    return {"group.id": group} | _READING | sizes | common_options(broker)


_READING = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
    "check.crcs": "true",
    "allow.auto.create.topics": "false",
    "fetch.message.max.bytes": str(4 * 2**20),
    # Memory: what is fetched ahead; and how soon fetching goes on after that was reached.
    "queued.min.messages": "50000",
    "queued.max.messages.kbytes": str(16 * 1024),
    "fetch.queue.backoff.ms": "5",
}


def admin_options(consumer: Options) -> Options:
    """For an admin client beside a consumer with these options."""
    only_reading = {"group.id", "fetch.max.bytes", *_READING}
    return {name: value for name, value in consumer.items() if name not in only_reading}


def lease_options(broker: BrokerSettings, topic: str, member: str) -> dict[str, str]:
    """The group is named like the topic. A session is as short as brokers allow unless told otherwise."""
    defaults = {
        "session.timeout.ms": "6000",
        "auto.offset.reset": "latest",
        "allow.auto.create.topics": "false",
    }
    options = defaults | common_options(broker)
    session_ms = int(options["session.timeout.ms"])
    return options | {
        "group.id": topic,
        "client.id": member,
        "group.protocol": "classic",
        # One who joins takes nothing from the one who has it.
        "partition.assignment.strategy": "cooperative-sticky",
        # How soon a standby hears that the lease is free.
        "heartbeat.interval.ms": str(max(1, min(1000, session_ms // 4))),
        # The lease is looked after between other work: reading a long log to its end is no death.
        "max.poll.interval.ms": str(max(900_000, session_ms)),
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
    }


def largest_record(max_message_bytes: int) -> int:
    """Bytes of key, value and headers together that fit into a topic with this max.message.bytes."""
    return max_message_bytes - _FRAMING_BYTES
