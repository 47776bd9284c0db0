"""Benchmarks: each a ratio of things measured in one interleaved run."""
