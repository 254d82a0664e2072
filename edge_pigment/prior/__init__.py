"""The frozen prior of brain microstructure: its bundle on disk, and the context network's session."""
