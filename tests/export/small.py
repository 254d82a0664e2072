"""The shipped network and a small simulated scan, as the exporter's tests use them."""

from functools import cache

import onnx

from edge_pigment.agreement import simulated
from edge_pigment.physics.host import HostBackend
from edge_pigment.prior.bundle import load_bundle
from edge_pigment.simulate import Noise, Protocol, Shell, simulate_scan
from edge_pigment_calibration.heads import head, slab
from edge_pigment_calibration.quantisation import scan_features
from edge_pigment_export.flavours import name_layers

VOXEL = (5.0, 5.0, 5.0)


def model():
    """FP32, its layers named."""
    proto = onnx.load(load_bundle().model("fp32"))
    name_layers(proto)
    return proto


@cache
def subject():
    return slab(head(3, 5.0), 5.0, 20.0)


@cache
def scan():
    return simulated(subject(), "a small head", VOXEL, 10.0, seed=1)


@cache
def features():
    protocol = Protocol(voxel=VOXEL, shells=(Shell(b=1000.0, directions=6),), b0=1)
    return (scan_features(simulate_scan(subject(), protocol, Noise(snr=10.0), seed=2), HostBackend(1)),)
