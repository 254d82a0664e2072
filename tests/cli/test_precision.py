"""`run --precision`: a flavour that the bundle lacks is refused before anything is done."""

import pytest
from typer.testing import CliRunner

from edge_pigment.cli import app


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_a_missing_flavour_is_refused(write_scan, tmp_path, more):
    arguments = ["run", str(write_scan()), "-o", str(tmp_path / "maps"), "--precision", "fp4", *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "has no fp4 flavour" in result.output
    assert not (tmp_path / "maps").exists()
