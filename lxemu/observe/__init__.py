"""Looking at a running machine: strace, truss, probes."""
