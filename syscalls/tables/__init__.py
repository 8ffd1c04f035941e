"""System call tables: rows only, ordered by number."""
