"""Property tests on busy machines: an example may take as long as it takes, as hypothesis has it under CI."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

if settings.get_current_profile_name() == "default":
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
