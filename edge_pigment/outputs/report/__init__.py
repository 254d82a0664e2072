"""report.html: what a radiographer reads in a minute. One file, no network, opens from a USB stick."""

from edge_pigment.outputs.report.page import draw_report

__all__ = ["draw_report"]
