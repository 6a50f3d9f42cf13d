"""A Kafka cluster as a `Broker`, by librdkafka (confluent-kafka)."""

from __future__ import annotations

from connector.broker import Acknowledged
from connector.broker.kafka_admin import KafkaAdmin
from connector.broker.kafka_consumer import KafkaConsumer
from connector.broker.kafka_lease import KafkaLease
from connector.broker.kafka_options import (
    check_options,
    common_options,
    consumer_options,
    lease_options,
    producer_options,
)
from connector.broker.kafka_producer import KafkaProducer
from connector.settings import BrokerSettings


class KafkaBroker:
    """Connects to nothing by itself. Raises ConfigurationError for options that may not be given."""

    def __init__(self, settings: BrokerSettings, max_message_bytes: int) -> None:
        check_options(settings.options)
        self._settings = settings
        self._max_message_bytes = max_message_bytes

    def producer(self, acknowledged: Acknowledged) -> KafkaProducer:
        options = producer_options(self._settings, self._max_message_bytes)
        return KafkaProducer(options, self._max_message_bytes, acknowledged, self.admin)

    def consumer(self, group: str) -> KafkaConsumer:
        return KafkaConsumer(consumer_options(self._settings, group, self._max_message_bytes))

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(common_options(self._settings))

    def lease(self, topic: str, member: str) -> KafkaLease:
        return KafkaLease(lease_options(self._settings, topic, member), topic)
