"""The socket layer and its protocols."""
