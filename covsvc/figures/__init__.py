"""The figures that belong to certain studies, one a file, each found by its entry point."""
