"""The host backend in each instruction set that this machine has."""

import pytest

from edge_pigment.physics import host


@pytest.fixture(params=host.instruction_sets())
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> host.HostBackend:
    monkeypatch.setenv(host.ISA_VARIABLE, request.param)
    return host.HostBackend(threads=2)
