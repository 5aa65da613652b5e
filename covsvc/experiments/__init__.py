"""Toy generators, one a file; found by entry point."""
