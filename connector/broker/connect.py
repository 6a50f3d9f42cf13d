"""From the configuration to a broker. Opens nothing yet: that is for the producer, consumer or admin made of it."""

from __future__ import annotations

from connector.broker import Broker
from connector.settings import Settings


def open_broker(settings: Settings) -> Broker:
    """Raises ConfigurationError for options that would take away what the connector promises."""
    if settings.broker.kind == "embedded":
        from connector.broker.embedded import EmbeddedBroker

        return EmbeddedBroker(settings.broker.path)
    from connector.broker.kafka import KafkaBroker

    return KafkaBroker(settings.broker, settings.topics.max_message_bytes)
