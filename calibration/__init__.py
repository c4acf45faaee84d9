"""Photos to LR patches, activation ranges, and the drift measure with its budget."""
