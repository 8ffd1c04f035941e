"""Benchmarks: what a trap, a call and a program cost, by CPU time."""
