"""The lx personalities: Linux numbers, flags and structures over the kernel."""
