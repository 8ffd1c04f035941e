"""Layouts of the records: which bytes, in which order, per data model."""
