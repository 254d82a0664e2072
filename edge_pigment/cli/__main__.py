"""`python -m edge_pigment.cli`, the same as `edge-pigment`."""

from edge_pigment.cli import main

main()
