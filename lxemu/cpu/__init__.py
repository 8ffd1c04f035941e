"""The Unicorn engine, the CPU state, the trap loop."""
