"""Processors: toys, limits and exact coverages have the same bits, whatever numpy and BLAS find to be fastest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.system, pytest.mark.heavy, pytest.mark.timeout(600)]

STUDIES = Path(__file__).parents[2] / "deploy" / "studies" / "nightly.yaml"
"""All methods and experiments."""

COMPUTE = """
import hashlib
import sys
import numpy as np
from covsvc import api

def some(values):
    return sorted({values[0], values[len(values) // 2], values[-1]})

print(hashlib.sha256(np.exp(np.linspace(0.1, 5.0, 10_000)).tobytes()).hexdigest())
for study in api.load_studies(sys.argv[1]):
    few = {"s_true": some(study.s_true), "b": some(study.b), "cl": study.cl[:1], "n_toys": 200, "toys_per_block": 100}
    methods = study.model_dump(mode="json")["methods"]
    for each in methods:
        if each["name"] == "mc_likelihood":
            each["options"] |= {"n_toys": 500, "largest_s": 2.0, "largest_b": 8.0}
    study = api.load_study(study.model_dump(mode="json") | few | {"methods": methods})
    cube = api.run(study, sys.argv[2])
    for spec in study.methods:
        column = cube.sel(limit_method=spec.label)
        told = hashlib.sha256()
        for name in sorted(column.data_vars):
            values = column[name].to_numpy()
            if values.dtype.kind in "iufb":
                told.update(np.where(np.isnan(values), np.nan, values).tobytes())
        print(study.name, spec.label, told.hexdigest())
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what is printed here, and as if on an old processor."""
    dispatched = np._core._multiarray_umath.__cpu_dispatch__
    old = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", COMPUTE, STUDIES, tmp_path_factory.mktemp("store")],
            env={name: value for name, value in os.environ.items() if name not in old} | here,
            stdout=subprocess.PIPE,
            text=True,
        )
        for here in ({}, old)
    ]
    told = [process.communicate(timeout=500)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return told


def test_all_columns_have_the_same_bits_with_and_without_what_newer_processors_can(found):
    (now, *columns), (then, *old_columns) = found
    assert len(columns) > 50
    assert columns == old_columns
    if np._core._multiarray_umath.__cpu_features__.get("AVX512F"):
        assert now != then, "numpy takes no notice of the variable"
