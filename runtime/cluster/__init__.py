"""A run on many machines by Ray, which is imported only where ``--ray`` asks for it."""
