"""A cube as a Zarr store: readers of Zarr find in it what the store holds, and ask for no more than they need."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from obstore.store import HTTPStore
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, ObjectStore

from covsvc import api
from covsvc.service.zarr_view import CHUNK_BYTES, ZarrView
from covsvc.study import study_of

STUDY = {
    "name": "odd",
    "experiment": "counting",
    "methods": ["classical", "feldman_cousins"],
    "cl": [0.9],
    "s_true": [6, 1],
    "b": [3],
    "toys_per_block": 1000,
    "n_toys": 1000,
    "seed": 1999,
}

KEPT = {"name": "kept", "experiment": "spectrum", "methods": ["max_gap"], "s_true": [2], "keep": "toys"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store a cube whose axes grew out of order, and one that holds toys one by one."""
    place = tmp_path_factory.mktemp("store")
    api.run(study_of(STUDY | KEPT), place)
    api.run(study_of(STUDY), place)
    api.run(study_of(STUDY | {"cl": [0.9, 0.95], "s_true": [0, 1, 2.5, 6], "b": [0, 3], "n_toys": 2000}), place)
    return place


@pytest.fixture(scope="module")
def cube(store):
    return api.open_cube(store, "odd")


@pytest.fixture(scope="module")
def view(cube):
    return ZarrView(cube)


@pytest.fixture
def served(view):
    """Serve a view at an address; yield it, and the keys that were asked for."""
    asked = []

    class Files(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            key = self.path.removeprefix("/zarr/")
            asked.append(key)
            try:
                code, found = 200, self.server.view.read(key)
            except icechunk.IcechunkError:
                code, found = 503, b""
            self.send_response(404 if found is None else code)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.view = view
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}/zarr"
        server.asked = asked
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("name", "holds"), [("odd", "exact_coverage"), ("kept", "toy_bins")])
def test_a_cube_over_http_is_the_cube_of_the_store(store, served, name, holds):
    cube = api.open_cube(store, name)
    served.view = ZarrView(cube)
    with xr.open_zarr(served.url, chunks=None) as remote:
        xr.testing.assert_identical(remote.load(), cube.load())
        assert {name: each.dtype for name, each in remote.variables.items()} == {
            name: each.dtype for name, each in cube.variables.items()
        }
        assert len(np.unique(remote[holds])) > 3


def test_another_client_reads_the_same(served, cube):
    there = ObjectStore(HTTPStore.from_url(served.url, client_options={"allow_http": True}), read_only=True)
    with xr.open_zarr(there, chunks=None) as remote:
        xr.testing.assert_identical(remote.load(), cube.load())


def test_what_is_told_of_all_arrays_is_what_zarr_gathers(view):
    files = {key: default_buffer_prototype().buffer.from_bytes(told) for key, told in view._told.items()}
    plain = json.loads(view.read("zarr.json"))
    gathered = plain.pop("consolidated_metadata")
    files["zarr.json"] = default_buffer_prototype().buffer.from_bytes(json.dumps(plain).encode())
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(MemoryStore(files))
    assert json.loads(files["zarr.json"].to_bytes())["consolidated_metadata"] == gathered


def test_opening_reads_axes_and_no_more(served):
    with xr.open_zarr(served.url, chunks=None) as remote:
        assert {each for each in served.asked if "/c/" in each} == {
            f"{axis}/c/0" for axis in ("b", "cl", "limit_method", "s_true")
        }
        served.asked.clear()
        remote["limit_counts"].sel(b=3, cl=0.95, limit_method="classical", s_true=2.5)[:10].load()
        assert served.asked == ["limit_counts/c/0/1/0/0/0"]
        served.asked.clear()
        remote["n_covered"].load()
        assert served.asked == ["n_covered/c/0/0/0/0"]


def test_stored_chunks_are_joined_while_they_are_small():
    sizes = {"limit_method": 20, "cl": 2, "b": 100, "s_true": 60, "limit_bin": 4159}
    stored = {"limit_method": 20, "cl": 2, "b": 1, "s_true": 20, "limit_bin": 1024}

    def variable(*dims):
        values = np.broadcast_to(np.int64(7), [sizes[each] for each in dims])
        return xr.Variable(dims, values, encoding={"preferred_chunks": {each: stored[each] for each in dims}})

    cells = ("limit_method", "cl", "b", "s_true")
    told = ZarrView(xr.Dataset({"n_toys": variable(*cells), "limit_counts": variable(*cells, "limit_bin")}))
    shapes = {
        name: json.loads(told.read(f"{name}/zarr.json"))["chunk_grid"]["configuration"]["chunk_shape"]
        for name in ("n_toys", "limit_counts")
    }
    assert shapes["n_toys"] == [20, 2, 52, 60]  # 52 * 60 * 40 * 8 bytes are 998,400
    assert 8 * math.prod(shapes["n_toys"]) <= CHUNK_BYTES
    assert shapes["limit_counts"] == list(stored.values())  # which are larger than that already


def test_a_chunk_takes_the_memory_of_a_chunk_however_large_the_cube_is():
    values = np.broadcast_to(np.int64(7), (1000, 1000, 1000))
    variable = xr.Variable(("b", "s_true", "toy"), values, encoding={"preferred_chunks": {"b": 1, "s_true": 1}})
    view = ZarrView(xr.Dataset({"large": variable}))
    view.read("large/c/0/0/0")
    tracemalloc.start()
    try:
        assert view.read("large/c/999/7/0") is not None
        assert tracemalloc.get_traced_memory()[1] < 5 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


def test_many_at_once_get_what_one_gets(view):
    keys = [
        f"{name}/c/{'/'.join(map(str, index))}"
        for name, chunks in view._chunks.items()
        for index in itertools.product(*map(range, -(-np.array(view._variables[name].shape) // chunks)))
    ]
    alone = [view.read(key) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(view.read, keys * 2)) == alone * 2
    assert any(each is None for each in alone)
    assert sum(each is not None for each in alone) > 20


def test_a_chunk_without_anything_is_no_file_and_reads_as_nothing(view, served):
    assert view.read("n_failed/c/0/0/0/0") is None
    with xr.open_zarr(served.url, chunks=None) as remote:
        assert not remote["n_failed"].any()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "zarr.json/",
        "/zarr.json",
        "../odd/zarr.json",
        "n_toys/../zarr.json",
        "n_toys",
        "n_toys/c",
        "n_toys/c/0/0/0",
        "n_toys/c/0/0/0/0/0",
        "n_toys/c/0/0/0/1",
        "n_toys/c/0/0/0/-1",
        "n_toys/c/0/0/0/00",
        "n_toys/c/0/0/0/9999999999",
        "n_toys/c/0/0/0/" + "9" * 5000,
        "n_toys/c/0/0/0/0\n",
        "n_toys/c/0/0/0/٣",
        "n_toys/c/0.0.0.0",
        "unknown/c/0",
        "unknown/zarr.json",
        ".zgroup",
        "n_toys/.zarray",
    ],
)
def test_what_is_no_file_of_the_store_is_none(view, key):
    assert view.read(key) is None


def test_a_chunk_that_is_lost_is_a_failure_and_never_a_chunk_of_fill_values(store, served, tmp_path):
    shutil.copytree(store, tmp_path / "damaged")
    for chunk in (tmp_path / "damaged" / "kept" / "chunks").iterdir():
        chunk.unlink()
    served.view = ZarrView(api.open_cube(tmp_path / "damaged", "kept"))
    with pytest.raises(icechunk.IcechunkError):
        served.view.read("toy_bins/c/0/0/0/0/0")
    with xr.open_zarr(served.url, chunks=None) as remote, pytest.raises(aiohttp.ClientResponseError, match="503"):
        remote["toy_bins"].load()
