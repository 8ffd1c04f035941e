"""ELF parsing and program images."""
