"""System call filters."""
