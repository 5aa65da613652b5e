"""Limit methods, one or one family of the same formula a file; found by entry point."""
