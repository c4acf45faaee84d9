"""What range a tensor takes: observed, estimated, and kept."""
