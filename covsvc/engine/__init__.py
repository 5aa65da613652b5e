"""Execution: tasks in, a stream of tallies out."""
