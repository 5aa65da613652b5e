"""The cubes on disk."""
