"""Run a system call test suite, each test in a machine of its own, and report what passed."""
