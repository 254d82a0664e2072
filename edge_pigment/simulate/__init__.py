"""The scan simulator: a subject of known truth, a protocol and a scanner's faults in; a noisy scan out."""

from edge_pigment.simulate.files import read_subject, write_scan
from edge_pigment.simulate.profile import Profile, profile_names, read_profile
from edge_pigment.simulate.protocol import Faults, Noise, Protocol, Readout, Shell
from edge_pigment.simulate.scan import SimulatedScan, Truth, simulate_scan
from edge_pigment.simulate.subject import Compartment, Subject

__all__ = [
    "Compartment",
    "Faults",
    "Noise",
    "Profile",
    "Protocol",
    "Readout",
    "Shell",
    "SimulatedScan",
    "Subject",
    "Truth",
    "profile_names",
    "read_profile",
    "read_subject",
    "simulate_scan",
    "write_scan",
]
