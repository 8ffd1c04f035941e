"""Handlers shared by both personalities."""
