"""The toys that were drawn where their number was given."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from covsvc.report.notation import number


def drawn_sentences(maps: xr.Dataset) -> list[str]:
    """Say how many toys there are, where they are missing, how much they tell and what they took.

    Parameters
    ----------
    maps : Dataset
        Of a study whose number of toys was given.
    """
    toys = maps["n_toys"].transpose(..., "b", "s_true").to_numpy()
    toys = toys.reshape(-1, *toys.shape[-2:])
    cells = toys.max(axis=0, initial=0)
    if not cells.any():
        return ["No toys were drawn: what this page shows of coverage was summed over all outcomes."]
    drawn = cells[cells > 0]
    each = f"{drawn.min():,}" if drawn.min() == drawn.max() else f"{drawn.min():,} to {drawn.max():,}"
    said = [f"{drawn.sum():,} toys were drawn in {drawn.size:,} cells, {each} in each."]
    if len(toys) > 1:
        said.append(f"All {len(toys)} columns set their limits on the same toys.")
    if empty := cells.size - drawn.size:
        said.append(f"{empty:,} of {cells.size:,} cells have none yet: `covsvc run` draws what is missing.")
    if fewer := int(((toys < cells) & (cells > 0)).sum()):
        said.append(
            f"In {fewer:,} test{'s' * (fewer != 1)} (a cell in a column) the column has limits on fewer of them."
        )
    width = (maps["coverage_high"] - maps["coverage_low"]).to_numpy() / 2
    if np.isfinite(width).any():
        said.append(
            f"They tell a coverage to ± {number(np.nanmedian(width), 2)} (median half width of the 95 % intervals; "
            f"at most {number(np.nanmax(width), 2)})."
        )
    spent = json.loads(maps.attrs.get("provenance", "{}"))
    if all(isinstance(spent.get(name), (int, float)) for name in ("toys", "cpu_seconds", "wall_seconds")):
        said.append(
            f"All runs that are stored of this study drew {spent['toys']:,} toys in {number(spent['wall_seconds'], 3)} "
            f"s, with {number(spent['cpu_seconds'], 3)} s of processor time."
        )
    return said
