"""The report: what the maps and the verdict say, as one page with its figures."""

from covsvc.report.limit_plot import write_scan
from covsvc.report.page import write_page
from covsvc.report.section import Picture, Section, Table
from covsvc.report.validation_page import write_validation

__all__ = ["Picture", "Section", "Table", "write_page", "write_scan", "write_validation"]
