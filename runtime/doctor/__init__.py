"""What is on this device, what of it does not fit together, and what cures it.

Facts are gathered first (``gather.py``), rules judge them (``rules/``), and a smoke test (``smoke.py``) runs what there
is. Whatever loads a native library happens in a child process, so that a crash is a finding and not the end.
"""
