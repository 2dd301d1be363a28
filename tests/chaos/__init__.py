"""Snapshots under faults: a random history from a seed, and what must hold."""
