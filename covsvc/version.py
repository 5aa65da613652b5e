"""The version of covsvc."""

__version__ = "0.1.0"
