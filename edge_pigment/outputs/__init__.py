"""What a run leaves on disk: maps, sidecars, provenance, a sheet of pictures; all or nothing."""
