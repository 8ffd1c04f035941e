"""Run unmodified Linux programs without Linux: the machine of the lx brand."""
