"""Calibration: scanners (noise, gradient gain, field profile) and quantisation ranges."""
