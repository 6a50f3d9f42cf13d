"""The tests of the test servers, on containers."""

import pytest

from tests.integration.test_servers import *  # noqa: F403

pytestmark = pytest.mark.containers

# About processes of this machine.
del test_no_server_outlives_the_process_that_started_it  # noqa: F821
