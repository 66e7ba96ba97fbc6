"""The native runtime, seen from Python and as an installed library."""
