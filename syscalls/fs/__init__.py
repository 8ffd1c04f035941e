"""Linux's own file systems: proc, sys, dev."""
