"""INT8: what is quantised, with which ranges, and how much of it."""
