"""``make gpu``: everything that only a GPU can prove, stage by stage, kept in one JSON file."""
