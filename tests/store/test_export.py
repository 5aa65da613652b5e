"""Exports: what they hold, what they replace, and what is imported again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.testing import assert_array_equal

from covsvc import api
from covsvc.errors import StoreError
from covsvc.store.export import read_export
from covsvc.store.repository import open_cube, open_ledger, stored_studies


@pytest.fixture
def cube(small_study, tmp_path):
    return api.run(small_study(), tmp_path / "store")


def assert_equal(one, other):
    assert set(one.variables) == set(other.variables)
    for name in other.variables:
        assert one[name].dims == other[name].dims
        assert name == "limit_method" or one[name].dtype == other[name].dtype
        assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def digest_of(cube):
    axes = {name: cube[name].values.tolist() for name in ("b", "cl", "limit_method", "s_true")}
    told = json.dumps([{key: cube.attrs[key] for key in sorted(cube.attrs)}, axes])
    return hashlib.sha256(told.encode()).hexdigest()


def sign(path):
    """Have an export tell the digest of its attributes as they are now."""
    root = zarr.open_group(path, mode="a")
    with xr.open_zarr(path, consolidated=False) as cube:
        del cube.attrs["attributes_sha256"]
        root.attrs["attributes_sha256"] = digest_of(cube)


def test_a_zarr_export_is_the_cube_bit_for_bit(cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "small.zarr")
    with xr.open_zarr(path) as exported:
        assert_equal(exported, cube)
        assert exported.attrs.items() - cube.attrs.items() == {("attributes_sha256", digest_of(cube))}
        assert exported["s_true"].attrs == {"long_name": "true signal", "units": "events"}


def test_a_netcdf_export_is_the_cube_bit_for_bit(cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "small.nc")
    with xr.open_dataset(path, engine="h5netcdf") as exported:
        assert_equal(exported, cube)
        assert exported.attrs.items() >= cube.attrs.items()


def test_an_axis_that_arrived_out_of_order_is_exported_sorted(small_study, tmp_path):
    api.run(small_study(s_true=[6, 1]), tmp_path / "store")
    cube = api.run(small_study(s_true=[0, 1, 2.5, 6]), tmp_path / "store")
    with xr.open_zarr(api.export_cube(cube, tmp_path / "x.zarr")) as exported:
        assert exported["s_true"].values.tolist() == [0, 1, 2.5, 6]
        assert_equal(exported, cube)


def assert_rows(rows, maps):
    """Compare the rows of a table with the cells of the maps, bit for bit."""
    assert len(rows) == 3 * 2 * 3 * 4
    for row in rows[::7]:
        assert {*row} == {*map(str, maps.coords), *map(str, maps.data_vars)}
        cell = maps.sel({name: row[name] for name in ("limit_method", "cl", "b", "s_true")})
        for name in maps.data_vars:
            assert_array_equal(row[name], cell[name].item(), err_msg=str(name))


def test_a_csv_has_a_row_for_each_cell_of_a_column(cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "small.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert_rows([{name: _value(text) for name, text in row.items()} for row in rows], api.maps_of(cube))


def _value(text):
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text) if text else np.nan
    except ValueError:
        return text


def test_a_parquet_table_has_the_same_rows_and_keeps_types(cube, tmp_path):
    from pyarrow import parquet

    table = parquet.read_table(api.export_cube(cube, tmp_path / "small.parquet"))
    # parquet has no NaN of its own: pandas writes null
    rows = [{name: np.nan if value is None else value for name, value in row.items()} for row in table.to_pylist()]
    assert_rows(rows, api.maps_of(cube))
    types = {name: str(table.schema.field(name).type) for name in ("n_toys", "coverage", "under_significant")}
    assert types == {"n_toys": "int64", "coverage": "double", "under_significant": "bool"}


def test_a_csv_goes_to_a_stream_too_and_nothing_else_does(cube):
    stream = io.StringIO()
    assert api.export_cube(cube, stream) is None
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert (rows[0]["limit_method"], rows[0]["n_toys"], rows[0]["sigma_med_over_true"]) == ("classical", "5000", "")
    with pytest.raises(StoreError, match="zarr: a stream takes csv only"):
        api.export_cube(cube, stream, "zarr")


def test_the_name_tells_the_format_and_the_format_the_name(cube, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(api.export_cube(cube)) == "small.zarr"
    assert str(api.export_cube(cube, form="parquet")) == "small.parquet"
    assert (tmp_path / "small.zarr" / "zarr.json").is_file()
    api.export_cube(cube, "odd.name", "csv")
    with pytest.raises(StoreError, match=r"odd2\.name: its name tells no format; let it end in one of \.zarr"):
        api.export_cube(cube, "odd2.name")
    with pytest.raises(StoreError, match="xls: no format of an export; there are zarr, netcdf, csv, parquet"):
        api.export_cube(cube, "x", "xls")


def test_only_exports_are_replaced_and_only_when_asked(cube, tmp_path):
    for name in ("x.zarr", "x.nc", "x.csv", "x.parquet"):
        path = api.export_cube(cube, tmp_path / name)
        with pytest.raises(StoreError, match="exists already; choose another name, or replace it with --overwrite"):
            api.export_cube(cube, path)
        api.export_cube(cube, path, overwrite=True)
    thesis = tmp_path / "thesis.zarr"
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="is a folder, but no Zarr export"):
        api.export_cube(cube, thesis, overwrite=True)
    with pytest.raises(StoreError, match="is a file, which --overwrite does not replace by a folder"):
        api.export_cube(cube, tmp_path / "x.csv", "zarr", overwrite=True)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StoreError, match="is neither a file nor a folder, so that it is not replaced"):
        api.export_cube(cube, tmp_path / "pipe.csv", overwrite=True)
    (tmp_path / "pipe.csv").unlink()
    with pytest.raises(StoreError, match="no folder"):
        api.export_cube(cube, tmp_path / "nowhere" / "x.zarr")
    assert (thesis / "thesis.tex").read_text() == "x"
    assert {each.name for each in tmp_path.iterdir()} == {
        "store",
        "x.zarr",
        "x.nc",
        "x.csv",
        "x.parquet",
        "thesis.zarr",
    }


@pytest.mark.parametrize("name", ["x.zarr", "x.nc"])
def test_an_export_that_fails_half_way_leaves_nothing(cube, tmp_path, name):
    for chunk in (tmp_path / "store" / "small" / "chunks").iterdir():
        chunk.unlink()
    with pytest.raises(
        StoreError, match=f"{name}: not written: the stored cube cannot be read, it is damaged: No such file"
    ):
        api.export_cube(open_cube(tmp_path / "store", "small"), tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == ["store"]


def test_without_the_extra_the_cure_is_told(cube, tmp_path, monkeypatch):
    netcdf = api.export_cube(cube, tmp_path / "y.nc")
    for library in ("h5netcdf", "pyarrow"):
        monkeypatch.setitem(sys.modules, library, None)
    for name, library in (("x.nc", "h5netcdf"), ("x.parquet", "pyarrow")):
        with pytest.raises(StoreError, match=rf'{library}: not installed, .*: pip install "covsvc\[export\]"'):
            api.export_cube(cube, tmp_path / name)
    with pytest.raises(StoreError, match="h5netcdf: not installed"):
        api.import_cube(netcdf, tmp_path / "other")


@pytest.mark.parametrize("form", ["zarr", "netcdf"])
def test_what_is_imported_is_as_if_it_had_been_computed_there(small_study, cube, tmp_path, form):
    path = api.export_cube(cube, tmp_path / "x", form)
    name, merged = api.import_cube(path, tmp_path / "other")
    imported = open_cube(tmp_path / "other", name)
    assert_equal(imported, cube)
    kept = set(cube.attrs) - {"snapshot", "store", "commit"}
    assert {key: imported.attrs[key] for key in kept} == {key: cube.attrs[key] for key in kept}
    assert (merged.blocks, merged.toys) == ([3 * 2 * 12 * 5], [12 * 5000])
    assert api.remainder(small_study(), tmp_path / "other").nothing
    assert api.run(small_study(), tmp_path / "other").attrs["snapshot"] == merged.snapshot
    grown = small_study(n_toys=8000, s_true=[0, 0.5, 1, 2.5, 6])
    assert_equal(api.run(grown, tmp_path / "other"), api.run(grown, tmp_path / "fresh"))
    assert api.status(tmp_path / "other", name)["blocks_failed"] == 0


def test_an_import_may_have_another_name_but_not_that_of_a_stored_study(small_study, cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "x.zarr")
    with pytest.raises(StoreError, match="small: is stored already; add to it with `covsvc merge small FROM`"):
        api.import_cube(path, tmp_path / "store")
    assert open_cube(tmp_path / "store", "small").attrs["snapshot"] == cube.attrs["snapshot"]
    api.import_cube(path, tmp_path / "store", "copy")
    assert stored_studies(tmp_path / "store") == ["copy", "small"]
    assert api.remainder(small_study(name="copy"), tmp_path / "store").nothing
    with pytest.raises(StoreError, match=r"its study cannot be read here: name: 'a/b'"):
        api.import_cube(path, tmp_path / "store", "a/b")


def test_an_import_goes_where_a_driver_was_killed_before_its_first_commit(cube, tmp_path):
    import icechunk

    path = api.export_cube(cube, tmp_path / "x.zarr")
    (tmp_path / "other" / "small").mkdir(parents=True)
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "other" / "small")))
    api.import_cube(path, tmp_path / "other")
    assert_equal(open_cube(tmp_path / "other", "small"), cube)


def test_what_is_no_export_is_refused(cube, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x" * 1000)
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(tmp_path / "others.nc", engine="h5netcdf")
    table = api.export_cube(cube, tmp_path / "x.csv")
    for path, told in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "folder", "is no export of covsvc: a folder without zarr.json"),
        (tmp_path / "file", "cannot be read, it is damaged or no export"),
        (tmp_path / "others.nc", "is no export of covsvc"),
        (table, "a table of maps cannot be read back; export the cube with --format zarr or netcdf"),
    ):
        with pytest.raises(StoreError, match=told):
            api.import_cube(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_newer_schema_is_refused(cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "x.zarr")
    zarr.open_group(path, mode="a").attrs["schema"] = 99
    with pytest.raises(StoreError, match="schema 99, but this covsvc knows up to 2; upgrade covsvc"):
        api.import_cube(path, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("n_toys", r"classical at 0.9, b = 3, s_true = 1: n_toys is not .* \(5,001 against 5,000\)"),
        ("limit_counts", r"classical at 0.9, b = 3, s_true = 1: limit_counts do not add up .* \(5,001 against 5,000\)"),
        ("block_status", "classical at 0.9, b = 3, s_true = 1: block_status is neither"),
    ],
)
def test_counts_that_do_not_add_up_are_refused_with_names_and_numbers(cube, tmp_path, name, told):
    path = api.export_cube(cube, tmp_path / "x.zarr")
    array = zarr.open_group(path, mode="a")[name]
    first = () if name == "n_toys" else (100,) if name == "limit_counts" else (3,)
    place = (0, 0, 1, 1, *first)
    array[place] = array[place] + 1 if name != "block_status" else 7
    with pytest.raises(StoreError, match=told):
        api.import_cube(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_lost_chunk_and_a_flipped_bit_are_noticed(cube, tmp_path):
    whole = api.export_cube(cube, tmp_path / "x.zarr")
    chunks = sorted(each for each in whole.rglob("*") if each.is_file() and each.name != "zarr.json")
    assert len({each.relative_to(whole).parts[0] for each in chunks}) > 20
    for name in ("n_covered", "limit_digest", "exact_coverage", "block_status", "s_true"):
        chunk = next(each for each in chunks if each.relative_to(whole).parts[0] == name)
        lost, flipped = tmp_path / f"lost-{name}.zarr", tmp_path / f"flipped-{name}.zarr"
        for copy in (lost, flipped):
            shutil.copytree(whole, copy)
        (flipped / chunk.relative_to(whole)).write_bytes(_flipped(chunk.read_bytes()))
        with pytest.raises(StoreError, match=r"damaged"):
            api.import_cube(flipped, tmp_path / "other")
        if name != "n_covered":  # that nobody is covered would be possible
            (lost / chunk.relative_to(whole)).unlink()
            with pytest.raises(StoreError, match=r"damaged"):
                api.import_cube(lost, tmp_path / "other")
    netcdf = api.export_cube(cube, tmp_path / "x.nc")
    told = netcdf.read_bytes()
    netcdf.write_bytes(told[: len(told) // 2])
    with pytest.raises(StoreError, match="cannot be read, it is damaged or no export"):
        api.import_cube(netcdf, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def _flipped(told):
    """Flip a bit in the middle."""
    half = len(told) // 2
    return told[:half] + bytes([told[half] ^ 1]) + told[half + 1 :]


@pytest.mark.parametrize("name", ["x.zarr", "x.nc"])
def test_attributes_and_labels_that_were_changed_and_arrays_that_are_missing_are_noticed(cube, tmp_path, name):
    for changed, told in (
        (cube.assign_attrs(source=cube.attrs["source"].replace("1999", "1998")), "its attributes or axes are not"),
        (cube.assign_attrs(study="["), "its attributes or axes are not"),
        (
            cube.assign_coords(limit_method=np.array(["classical", "bayes_flat", "feldman_cousinz"], object)),
            "its attributes or axes",
        ),
        (cube.drop_vars("worst_coverage"), "no worst_coverage in it"),
        (cube.drop_vars("exact_status"), "no exact_status in it"),
    ):
        changed = changed.assign_attrs(attributes_sha256=digest_of(cube))
        for each in changed.variables.values():
            each.encoding.clear()
        if name == "x.zarr":
            changed.to_zarr(tmp_path / name, mode="w", consolidated=False, zarr_format=3)
        else:
            changed.to_netcdf(tmp_path / name, engine="h5netcdf")
        with pytest.raises(StoreError, match=f"damaged: {told}.*export it again"):
            api.import_cube(tmp_path / name, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_links_are_followed(cube, tmp_path):
    (tmp_path / "large").mkdir()
    for name in ("x.zarr", "x.nc"):
        (tmp_path / name).symlink_to(tmp_path / "large" / name)
        for _ in range(2):
            api.export_cube(cube, tmp_path / name, overwrite=True)
        assert (tmp_path / name).is_symlink()
        assert_equal(read_export(tmp_path / "large" / name), cube)
    assert sorted(each.name for each in tmp_path.rglob("*.x.*")) == []


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")
@pytest.mark.parametrize("name", ["x.nc", "x.zarr", "x.csv"])
def test_on_a_full_disk_an_export_says_so_and_leaves_what_was_there(cube, tmp_path, name):
    whole = api.export_cube(cube, tmp_path / name)
    size = sum(each.stat().st_size for each in [whole, *whole.rglob("*")] if each.is_file())
    program = (
        "import sys; from covsvc import api, cli; "
        "cli.main(['export', 'small', sys.argv[2], '--store', sys.argv[1], '--overwrite'])"
    )
    for part in (0.1, 0.5, 0.9):
        disk = tmp_path / f"disk{part}"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(part * size)}", "tmpfs", disk], check=True)
        try:
            ended = subprocess.run(
                [sys.executable, "-c", program, tmp_path / "store", disk / name],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ended.returncode == 2, ended.stderr
            assert ended.stderr.startswith(f"covsvc: {disk / name}: cannot be written: ")
            assert "No space left on device" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1
            assert list(disk.iterdir()) == []
        finally:
            subprocess.run(["umount", disk], check=True)


def test_failed_blocks_and_their_reasons_travel(small_study, tmp_path, plugins):
    study = small_study(experiment="broken", methods="classical", cl=0.9)
    cube = api.run(study, tmp_path / "store")
    api.import_cube(api.export_cube(cube, tmp_path / "x.nc"), tmp_path / "other")
    told = api.status(tmp_path / "other", "small")
    assert told["failures"] == api.status(tmp_path / "store", "small")["failures"]
    assert (told["blocks_failed"], told["failures"][0]["reason"]) == (45, "RuntimeError: the source is empty")


def test_a_study_of_unknown_plug_ins_is_refused_by_name(small_study, tmp_path, plugins):
    path = api.export_cube(api.run(small_study(methods="too_low"), tmp_path / "store"), tmp_path / "x.zarr")
    root = zarr.open_group(path, mode="a")
    root.attrs["study"] = root.attrs["study"].replace("too_low", "far_too_low")
    sign(path)
    with pytest.raises(StoreError, match=r"its study cannot be read here: .*far_too_low: unknown method"):
        api.import_cube(path, tmp_path / "other")


def test_two_drivers_do_not_import_into_one_study(small_study, cube, tmp_path):
    path = api.export_cube(cube, tmp_path / "x.zarr")
    with (
        open_ledger(tmp_path / "other", small_study()),
        pytest.raises(StoreError, match=rf"another driver has this study: pid {os.getpid()}"),
    ):
        api.import_cube(path, tmp_path / "other")


EXPORTER = """
import sys
from covsvc import api
cube = api.open_cube(sys.argv[1], "small")
print("begins", flush=True)
while True:
    api.export_cube(cube, sys.argv[2], overwrite=True)
"""


@pytest.mark.system
@pytest.mark.parametrize("name", ["x.zarr", "x.nc"])
def test_kill_9_of_an_export_leaves_a_whole_one_or_none(small_study, cube, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    for delay in (0.02, 0.1, 0.23, 0.41):
        command = [sys.executable, "-c", EXPORTER, str(tmp_path / "store"), str(out / name)]
        exporter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert exporter.stdout is not None
            assert exporter.stdout.readline() == "begins\n"
            time.sleep(delay)
        finally:
            os.killpg(exporter.pid, signal.SIGKILL)
            exporter.wait()
            exporter.stdout.close()
        if (out / name).exists():
            with read_export(out / name) as left:
                assert_equal(left, cube)
                assert json.loads(left.attrs["study"])["name"] == "small"
