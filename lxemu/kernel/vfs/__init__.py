"""Vnodes, name lookup, files and file systems."""
