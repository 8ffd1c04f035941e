"""The virtual kernel, in the manner of illumos."""
