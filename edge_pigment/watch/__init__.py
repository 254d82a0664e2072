"""Precision while scanning: volumes arrive in a folder, the maps' uncertainty is told, and when the scan can stop.

The folder is the only state: it is read afresh at every look, so that a restart, a repeat, a late or a half-written
volume changes nothing but what is there. The maps are those of `pipeline.run` on the volumes that have arrived.
"""

from edge_pigment.watch.folder import Arrivals, Folder
from edge_pigment.watch.outlook import Forecast, forecast

__all__ = ["Arrivals", "Folder", "Forecast", "forecast"]
