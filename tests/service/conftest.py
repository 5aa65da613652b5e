"""What tests of the service share."""

from service_store import cached, served, stored

__all__ = ["cached", "served", "stored"]
