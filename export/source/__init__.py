"""Where an export starts: a network of any kind behind one face, with its graph and its reference."""
