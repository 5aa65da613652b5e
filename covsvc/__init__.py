"""Coverage validation of upper limits: which method covers, where, and how strong its limits are.

>>> import covsvc
>>> covsvc.limits("feldman_cousins", covsvc.Counts(n=[0, 3], b=1.0), cl=0.90).upper.round(2).tolist()
[1.61, 6.42]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from covsvc.version import __version__

if TYPE_CHECKING:
    from covsvc.api import (
        accept,
        baselines,
        exact_coverage,
        expected_limits,
        export_cube,
        import_cube,
        judge,
        limits,
        load_studies,
        load_study,
        merge,
        open_cube,
        query,
        replay,
        run,
        select,
        summarize,
        trend,
        validate,
        worst_coverage,
        write_report,
        write_validation,
    )
    from covsvc.binned_model import BinnedModel
    from covsvc.contracts import (
        Binned,
        Counts,
        Events,
        Limits,
        ModelledEvents,
        OnOff,
        Sideband,
        Status,
        UncertainCounts,
    )
    from covsvc.workspace import workspace_of

_HOME = {
    "Binned": "covsvc.contracts",
    "BinnedModel": "covsvc.binned_model",
    "Counts": "covsvc.contracts",
    "Events": "covsvc.contracts",
    "Limits": "covsvc.contracts",
    "ModelledEvents": "covsvc.contracts",
    "OnOff": "covsvc.contracts",
    "Sideband": "covsvc.contracts",
    "Status": "covsvc.contracts",
    "UncertainCounts": "covsvc.contracts",
    "accept": "covsvc.api",
    "baselines": "covsvc.api",
    "exact_coverage": "covsvc.api",
    "expected_limits": "covsvc.api",
    "export_cube": "covsvc.api",
    "import_cube": "covsvc.api",
    "judge": "covsvc.api",
    "limits": "covsvc.api",
    "load_studies": "covsvc.api",
    "load_study": "covsvc.api",
    "merge": "covsvc.api",
    "open_cube": "covsvc.api",
    "query": "covsvc.api",
    "replay": "covsvc.api",
    "run": "covsvc.api",
    "select": "covsvc.selection",
    "summarize": "covsvc.api",
    "trend": "covsvc.api",
    "validate": "covsvc.api",
    "workspace_of": "covsvc.workspace",
    "worst_coverage": "covsvc.api",
    "write_report": "covsvc.api",
    "write_validation": "covsvc.api",
}

__all__ = [
    "Binned",
    "BinnedModel",
    "Counts",
    "Events",
    "Limits",
    "ModelledEvents",
    "OnOff",
    "Sideband",
    "Status",
    "UncertainCounts",
    "__version__",
    "accept",
    "baselines",
    "exact_coverage",
    "expected_limits",
    "export_cube",
    "import_cube",
    "judge",
    "limits",
    "load_studies",
    "load_study",
    "merge",
    "open_cube",
    "query",
    "replay",
    "run",
    "select",
    "significance",
    "summarize",
    "trend",
    "validate",
    "workspace_of",
    "worst_coverage",
    "write_report",
    "write_validation",
]


def __getattr__(name: str) -> Any:
    # names arrive when they are used, so that `covsvc --help` need not wait for numba and xarray
    if name == "significance":
        return importlib.import_module("covsvc.significance")
    if name not in _HOME:
        raise AttributeError(f"module 'covsvc' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
