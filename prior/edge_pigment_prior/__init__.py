"""Learns the context prior: scans in BIDS layout -> weights."""
