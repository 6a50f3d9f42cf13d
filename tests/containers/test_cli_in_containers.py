"""The whole way by the commands, on servers in containers: files, source, Kafka, replica, searches."""

import pytest

from tests.integration.test_cli_servers import *  # noqa: F403

pytestmark = pytest.mark.containers

# Needs no server.
del test_what_does_not_answer_is_named_in_time  # noqa: F821
