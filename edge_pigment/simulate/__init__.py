"""The scan simulator: a subject of known truth, a protocol and a scanner's faults in; a noisy scan out."""
