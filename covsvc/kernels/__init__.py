"""Array numerics of the limit methods: arrays in, arrays out."""

import importlib.util
import sys

# numba imports a module named coverage if it finds one; a folder of cubes of that name, where Python starts, is none
if "coverage" not in sys.modules and getattr(importlib.util.find_spec("coverage"), "origin", "") is None:
    sys.modules["coverage"] = None  # type: ignore[assignment]
