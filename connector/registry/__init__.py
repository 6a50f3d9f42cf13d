"""An optional schema registry: its client, subjects and frames, and the configured log with or without it."""

from __future__ import annotations

from connector.broker import Broker, connect
from connector.registry.client import RegistryClient
from connector.registry.framed import FramedBroker
from connector.settings import Settings

__all__ = ["FramedBroker", "RegistryClient", "open_broker"]


def open_broker(settings: Settings) -> Broker:
    """The configured broker; where a registry is configured, one that frames values for it. Opens nothing yet.

    Raises ConfigurationError for options that would take away what the connector promises.
    """
    broker = connect.open_broker(settings)
    if settings.registry.url is None:
        return broker
    return FramedBroker(broker, RegistryClient(settings.registry), settings.registry)
