"""Limits on the toy model of a paper."""

from __future__ import annotations

import xarray as xr

from covsvc.api.building import STORE, builder
from covsvc.api.observed import failed_columns
from covsvc.engine.guard import giving_up
from covsvc.engine.narsky import toy_model
from covsvc.study import Study


def limits_on_toy_model(study: Study, maps: xr.Dataset) -> xr.Dataset | None:
    """Set the limits of each method of a study on the toy model of a paper; calibrations are in the store of the maps.

    Parameters
    ----------
    study : Study
        Of the experiment gaussian_flat.
    maps : xarray.Dataset
        Of the study. A guarded method all of whose blocks failed is not asked again.

    Returns
    -------
    xarray.Dataset or None
        As `covsvc.engine.narsky.toy_model` gives it.
    """
    with giving_up(failed_columns(study, maps)):
        return toy_model(study, builder(maps.attrs.get("store", STORE)))
