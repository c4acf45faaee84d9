"""Is what this device computes what PyTorch computed? Pictures of a reference pack, through an artefact, compared."""
