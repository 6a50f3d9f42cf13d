"""The binlog of servers in containers becomes what that of local ones becomes."""

import pytest

from tests.integration.test_binlog_source import *  # noqa: F403

pytestmark = pytest.mark.containers
