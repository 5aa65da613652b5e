"""Answers over HTTP: the numbers of Python and of the command line, what is refused, and who is let in."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import schemathesis
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_store import running

from covsvc import api
from covsvc.api.plain import plain
from covsvc.cli import cli
from covsvc.service import make_app
from covsvc.service.tokens import add_token

pytestmark = pytest.mark.system

POINT = "/studies/tiny/coverage?limit_method=cls&cl=0.9&b=3&s_true=2.5"


def said(response):
    """Return the sentence of a refusal."""
    told = response.json()
    assert set(told) == {"error"}
    assert response.headers["cache-control"] == "no-store"
    return told["error"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("limit_method=cls&cl=0.9&b=3&s_true=2.5", {"limit_method": ["cls"], "cl": "0.9", "b": "3", "s_true": "2.5"}),
        ("limit_method=f,+c&b=:1&s_true=1,6", {"limit_method": ["f, c"], "b": ":1", "s_true": "1,6"}),
        ("verdict=over&sort=-coverage,b&most=3", {"verdict": ["over"], "sort": "-coverage,b", "most": 3}),
        ("columns=b,coverage&cl=0.95", {"columns": "b,coverage", "cl": "0.95"}),
        ("limit_method=cls&cl=0.9&s_true=2.6", {"limit_method": ["cls"], "cl": "0.9", "s_true": "2.6"}),
        ("b=10:20", {"b": "10:20"}),
        ("cl=0.9&against=first", {"cl": "0.9", "against": "first"}),
        ("at=first", {"at": "first"}),
    ],
)
def test_a_query_is_answered_as_python_answers_it(served, query, asked):
    response = served.client.get(f"/studies/tiny/coverage?{query}")
    assert response.status_code == 200
    assert response.json() == plain(api.query("tiny", served.store, **asked).as_dict())


def test_the_command_line_gives_the_same_numbers_by_the_same_names(served):
    asked = ["--limit-method", "cls", "--cl", "0.9", "--b", "3", "--s-true", "2.5"]
    told = CliRunner().invoke(cli, ["query", "tiny", "--store", served.store, *asked, "--json"])
    assert served.client.get(POINT).json() == json.loads(told.stdout)


def test_a_point_off_the_grid_is_computed_and_says_so(served):
    told = served.client.get("/studies/tiny/coverage?limit_method=cls&cl=0.9&b=3&s_true=2.6").json()
    (row,) = told["rows"]
    known = api.exact_coverage("cls", "counting", s_true=[2.6], b=[3.0], cl=0.9)["coverage"].item()
    assert row["source"] == "computed"
    assert row["exact_coverage"] == pytest.approx(known, abs=1e-12)
    assert row["coverage"] is None
    assert "not on the grid" in told["notes"][0]


def test_changes_since_a_commit_are_those_of_the_query(served):
    told = served.client.get("/studies/tiny/diff?before=first&cl=0.9").json()
    assert told == plain(api.query("tiny", served.store, against="first", cl="0.9").as_dict())
    row = told["rows"][0]
    assert row["coverage_change"] == pytest.approx(row["coverage"] - row["coverage_before"])


def test_worst_cells_status_history_and_progress_are_those_of_python(served):
    get = served.client.get
    assert get("/studies/tiny/worst?most=2").json() == plain(api.worst("tiny", served.store, most=2))
    assert get("/studies/tiny").json() == plain(api.status(served.store, "tiny"))
    assert get("/studies/tiny?at=first").json() == plain(api.status(served.store, "tiny", "first"))
    history = api.history("tiny", served.store)
    told = get("/studies/tiny/history").json()
    assert told["commits"] == plain(history)
    assert told["snapshot"] == history[0]["snapshot"]
    assert len(get("/studies/tiny/history?most=1").json()["commits"]) == 1
    progress = get("/studies/tiny/progress").json()
    assert (progress["complete"], progress["fraction"], progress["blocks_done"]) == (True, 1.0, 3 * 2 * 2 * 4 * 4)
    (listed,) = get("/studies").json()["studies"]
    assert listed == {"study": "tiny", **{name: history[0][name] for name in ("snapshot", "written_at")}}


@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_that_of_python(served, suffix, begins):
    response = served.client.get(f"/studies/tiny/figures/coverage.{suffix}?limit_method=cls&cl=0.9")
    assert response.content.startswith(begins)
    assert response.content == api.figure(
        api.read_maps(served.store, "tiny"), "coverage", limit_method="cls", cl=0.9, format=suffix
    )


def test_limits_on_an_observation_are_those_of_python_and_nothing_is_written(served):
    before = sorted((each, each.stat().st_mtime_ns) for each in served.path.rglob("*"))
    asked = {"experiment": "counting", "observed": {"n": 3, "b": 5.5}, "limit_method": ["cls"], "s_max": 12.0}
    told = served.client.post("/limits", json=asked).json()
    known = api.limits_on("counting", {"n": 3, "b": 5.5}, [{"name": "cls"}], [0.9], s_max=12.0)
    assert told["limits"] == plain(known)
    nothing = {"n": 0, "b": 3.0}
    # first here, where kernels may take their time to compile
    known = api.limits_on("counting", nothing, api.readers_of("counting"), [0.9])
    every = served.client.post("/limits", json={"experiment": "counting", "observed": nothing}).json()
    assert every["limits"] == plain(known)
    assert sorted((each, each.stat().st_mtime_ns) for each in served.path.rglob("*")) == before


def test_a_method_that_needs_a_calibration_says_so_and_none_is_made(served):
    signal = {"signal": [2.0, 5.0], "backgrounds": [10.0, 10.0], "uncorrelated": [1.0, 2.0]}
    method = {"name": "sampling_distribution", "options": {"nuisances": "nominal"}}
    asked = {"experiment": "binned", "options": signal, "observed": {"counts": [12, 9]}, "limit_method": [method]}
    (row,) = served.client.post("/limits", json=asked).json()["limits"]
    assert row["status"] == "failed"
    assert "calibration for this analysis, which is not stored" in row["reason"]
    assert not (served.path / "calibrations").exists()


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/studies/tini/coverage", 404, "tini: unknown study, did you mean 'tiny'"),
        ("/studies/tini/progress", 404, "did you mean 'tiny'"),
        ("/studies/tiny/coverage?at=nowhere", 404, "no snapshot 'nowhere'"),
        ("/studies/tiny/diff?before=nowhere", 404, "no snapshot 'nowhere'"),
        ("/studies/tiny/diff", 422, "before: field required"),
        ("/studies/tiny/coverage?limit_method=clz", 422, "clz: unknown limit method of the study, did you mean 'cls'"),
        ("/studies/tiny/coverage?limit-method=cls", 422, "limit-method: no parameter, did you mean 'limit_method'"),
        ("/studies/tiny/coverage?b=3&b=0", 422, "b: is given 2 times"),
        ("/studies/tiny/coverage?cl=0.91", 422, "cl = 0.91: not on the grid"),
        ("/studies/tiny/coverage?s_true=nan", 422, "s_true = nan: give a number"),
        ("/studies/tiny/coverage?s_true=inf", 422, "s_true = inf: give a number"),
        ("/studies/tiny/coverage?s_true=1e400", 422, "s_true = 1e400: give a number"),
        ("/studies/tiny/coverage?s_true=1e300", 422, "expected events lie in"),
        ("/studies/tiny/coverage?s_true=-1", 422, "expected events lie in"),
        ("/studies/tiny/coverage?s_true=5:1", 422, "write 1:5"),
        ("/studies/tiny/coverage?b=", 422, "b = : give a number"),
        (f"/studies/tiny/coverage?most={'9' * 5000}", 422, "most"),
        ("/studies/tiny/coverage?most=0", 422, "most = 0"),
        ("/studies/tiny/coverage?most=-1", 422, "most = -1"),
        ("/studies/tiny/coverage?columns=b,nothing", 422, "nothing: unknown column"),
        ("/studies/tiny/coverage?sort=-nothing", 422, "nothing: unknown column"),
        ("/studies/tiny/coverage?verdict=bad", 422, "verdict"),
        (f"/studies/tiny/coverage?b={','.join(map(str, range(1100)))}", 422, "b: 1,100 values, at most 1,000"),
        (f"/studies/tiny/coverage?s_true={'1,' * 5000}1", 414, "more than 8,192 letters"),
        ("/studies/tiny/figures/coverage.svg?limit_method=cls&cl=nan", 422, "cl = nan"),
        ("/studies/tiny/figures/coverage.svg?limit_method=cls&cl=0.5", 422, "cl = 0.5"),
        ("/studies/tiny/figures/nothing.svg", 422, "kind"),
        ("/studies/tiny/figures/coverage.exe", 422, "suffix"),
        ("/nothing", 404, "no such address"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(served, address, status, sentence):
    response = served.client.get(address)
    assert (response.status_code, sentence in said(response)) == (status, True), response.text


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 422, "the body: field required"),
        (b"{", 422, "the body is no JSON"),
        (b"[" * 60_000, 400, "parsing the body"),
        (b'{"experiment": "countin", "observed": {}}', 422, "countin: unknown experiment, did you mean 'counting'"),
        (b'{"experiment": "counting", "observed": {"n": 3}}', 422, "is given by n, b"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": NaN}}', 422, "finite"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1e999}}', 422, "finite"),
        (b'{"experiment": "counting", "observed": {"n": 1' + b"0" * 30 + b', "b": 1}}', 422, "18 digits"),
        (b'{"experiment": "counting", "observed": {"n": 1' + b"0" * 5000 + b', "b": 1}}', 400, "parsing the body"),
        (b'{"experiment": "counting", "observed": {"n": 1e17, "b": 1}}', 422, "a whole number >= 0, at most 1,000,000"),
        (b'{"experiment": "counting", "observed": {"n": "3", "b": {"c": []}}}', 422, ""),
        (b'{"experiment": "counting", "observed": {"n": [3, 4], "b": 1}}', 422, "2 observations; send one"),
        (b'{"experiment": "counting", "observed": {"n": [], "b": 1}}', 422, "0 observations; send one"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1}, "cl": [1.5]}', 422, "cl.0 = 1.5"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1}, "cl": []}', 422, "cl"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1}, "s_max": 1e9}', 422, "s_max"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1}, "store": "/"}', 422, "store"),
        (b'{"experiment": "counting", "observed": {"n": 3, "b": 1}, "limit_method": ["clz"]}', 422, "clz"),
        (
            b'{"experiment": "binned", "options": {"workspace": "/etc/passwd"}, "observed": {}}',
            422,
            "files of the serv",
        ),
        (b'{"experiment": "binned", "options": {"workspace": {}}, "observed": {}}', 422, ""),
    ],
)
def test_what_is_wrong_with_an_observation_is_said_in_a_sentence(served, body, status, sentence):
    response = served.client.post("/limits", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert sentence in said(response)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/..%2f..%2fetc%2fpasswd",
        "/studies/../../../../etc/passwd",
        "/studies/%2e%2e/coverage",
        "/studies/tiny%00/coverage",
        "/studies/tiny/zarr/..%2f..%2f..%2fetc%2fpasswd",
        "/studies/tiny/zarr/../../../etc/passwd",
        "/studies/tiny/zarr//etc/passwd",
        "/studies/tiny/snapshots/..%2f..%2ftiny/zarr/zarr.json",
        "/report/..%2f..%2fetc/passwd",
        "/report/tiny/..%2findex.html",
        "/report/tiny/%2e%2e",
        "/report/calibrations/index.html",
        "//etc/passwd",
        "/studies/" + "a" * 5000,
        "/studies/%ff%fe",
    ],
)
def test_no_path_leads_out_of_the_store(served, path):
    address = urlsplit(str(served.client.base_url))
    connection = http.client.HTTPConnection("localhost", address.port, timeout=30)  # httpx would tidy the path up
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 404, body
    assert b"root:" not in body
    assert set(json.loads(body)) == {"error"}
    assert served.store.encode() not in body


def test_nothing_can_be_changed(served):
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        response = served.client.request(method, "/studies/tiny")
        assert response.status_code == 405
        assert "nothing can be changed" in said(response)


def test_an_answer_that_is_known_is_not_sent_again(served):
    first = served.client.get(POINT)
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = served.client.get(POINT, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert served.client.get(POINT, headers={"If-None-Match": '"other"'}).content == first.content
    other = served.client.get(POINT + "&at=first")
    assert other.headers["etag"] != tag
    assert other.json()["snapshot"] != first.json()["snapshot"]


def test_head_tells_what_get_would(served):
    get, head = served.client.get(POINT), served.client.head(POINT)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["etag"] == get.headers["etag"]


def test_the_cube_is_there_as_zarr_and_a_commit_that_is_not_looks_like_no_empty_chunk(served):
    assert served.client.get("/studies/tiny/zarr/zarr.json").json()["node_type"] == "group"
    snapshot = api.open_cube(served.store, "tiny", "first").attrs["snapshot"]
    told = served.client.get("/studies/tiny/snapshots/first/zarr/zarr.json")
    assert told.json()["attributes"]["snapshot"] == snapshot
    assert told.headers["cache-control"] == "private, no-cache"  # a tag may be deleted
    named = served.client.get(f"/studies/tiny/snapshots/{snapshot}/zarr/n_toys/zarr.json")
    assert "immutable" in named.headers["cache-control"]
    assert served.client.get("/studies/tiny/zarr/nothing/c/0").status_code == 404
    assert served.client.get("/studies/tiny/snapshots/gone/zarr/zarr.json").status_code == 404
    # a reader of Zarr takes a chunk that is not found for one that holds fill values
    assert served.client.get("/studies/tiny/snapshots/gone/zarr/n_toys/c/0/0/0/0").status_code == 410


def test_a_page_lists_the_studies_without_a_request_elsewhere(served):
    response = served.client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert '<a href="studies/tiny">tiny</a>' in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"(src|href)=\"(https?:)?//", response.text)
    for link in set(re.findall(r'href="([^"]+)"', response.text)) - {"report/tiny"}:
        assert served.client.get(f"/{link}").status_code == 200


def test_counters_know_patterns_of_addresses_and_nothing_of_what_was_asked(served):
    served.client.get(POINT)
    served.client.get("/studies/secret-name")
    told = served.client.get("/metrics").text
    assert re.search(r'covsvc_requests_total{method="GET",route="/studies/{name}/coverage",status="200"} [1-9]', told)
    assert "process_resident_memory_bytes" in told
    assert "secret-name" not in told
    # beside the bounds of bins, and the values at the ends of lines, which may be such seconds
    assert "2.5" not in re.sub(r'(?m)le="[^"]+"| [-+.\w]+$', "", told)


def test_without_tokens_only_localhost_is_answered(served):
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        response = served.client.get("/studies", headers={"Host": host})
        assert response.status_code == 421, host
    for host in ("localhost", "LOCALHOST:8999", "127.0.0.1:1", "[::1]:8999"):
        assert served.client.get("/studies", headers={"Host": host}).status_code == 200
    assert served.client.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200


def test_a_body_is_as_large_as_it_may_be(served):
    def chunks():
        for _ in range(80):
            yield b" " * 1000

    assert served.client.post("/limits", content=b" " * 70_000).status_code == 413
    assert served.client.post("/limits", content=chunks()).status_code == 413
    assert served.client.get("/healthz").status_code == 200


def test_a_connection_on_which_no_request_comes_is_closed(served, monkeypatch):
    monkeypatch.setattr("covsvc.service.serving.IDLE", 0.3)
    port = urlsplit(str(served.client.base_url)).port
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sent, answers in ((b"", 0), (b"GET /healthz HT", 0), (whole, 1), (whole + b"GET /", 1)):
        with socket.create_connection(("localhost", port), timeout=10) as asking:
            asking.sendall(sent)
            told = b"".join(iter(lambda: asking.recv(4096), b""))
        assert told.count(b"200 OK") == answers


def test_a_study_that_cannot_be_read_says_so_and_hides_no_other(tmp_path, stored):
    store = tmp_path / "store"
    shutil.copytree(Path(stored) / "tiny", store / "tiny")
    shutil.copytree(Path(stored) / "tiny", store / "headless")
    shutil.copytree(Path(stored) / "tiny", store / "damaged")
    for file in (store / "headless" / "snapshots").iterdir():
        file.write_bytes(b"damaged")
    for file in (store / "damaged" / "chunks").iterdir():
        file.write_bytes(file.read_bytes()[:20])
    with running(make_app(str(store))) as client:
        names = {each["study"]: bool(each["snapshot"]) for each in client.get("/studies").json()["studies"]}
        assert names == {"tiny": True, "headless": False, "damaged": True}
        for address in ("headless/progress", "damaged/snapshots/first/zarr/limit_counts/c/0/0/0/0/0"):
            response = client.get(f"/studies/{address}")
            assert (response.status_code, "cannot be read" in said(response)) == (503, True), address
        assert client.get("/studies/tiny/snapshots/first/zarr/limit_counts/c/0/0/0/0/0").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(served, monkeypatch):
    monkeypatch.setattr("covsvc.service.gate.PATIENCE", 0.2)
    address = urlsplit(str(served.client.base_url))
    connection = http.client.HTTPConnection("localhost", address.port, timeout=30)
    connection.putrequest("POST", "/limits")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


def test_rows_are_as_many_as_they_may_be(stored):
    with running(make_app(stored, most_rows=10)) as client:
        response = client.get("/studies/tiny/coverage")
        assert response.status_code == 422
        assert "48 rows are asked for, at most 10 are given" in said(response)
        assert len(client.get("/studies/tiny/coverage?most=10").json()["rows"]) == 10


def test_who_has_a_token_is_let_in_and_it_is_never_written_down(stored, tmp_path, caplog):
    file = tmp_path / "tokens"
    token = add_token(file, "alice")
    caplog.set_level(logging.DEBUG)
    with running(make_app(stored, tokens=file)) as client:

        def ask(given, address="/studies"):
            return client.get(address, headers={"Authorization": given} if given else {})

        for given in (None, "Bearer", f"Basic {token}", token, "Bearer wrong", f"Bearer {token}x", "Bearer \xff"):
            for address in ("/studies", "/metrics", "/openapi.json", "/", "/nothing", f"/studies?token={token[:9]}"):
                response = ask(given and given.encode("latin-1"), address)
                assert response.status_code == 401, (given, address)
                assert response.headers["www-authenticate"].startswith("Bearer")
                assert token not in response.text
        for given in (f"Bearer {token}", f"bearer {token}"):
            response = ask(given)
            assert response.status_code == 200
            assert response.headers["vary"] == "Authorization"
            assert client.get("/studies", headers={"Authorization": given, "Host": "covsvc.example"}).is_success
        assert ask(None, "/healthz").status_code == 200
        document = ask(f"Bearer {token}", "/openapi.json").json()
        assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        other = add_token(file, "bob")
        assert ask(f"Bearer {other}").status_code == 200
        file.write_text("")
        assert ask(f"Bearer {other}").status_code == 401
        assert token not in ask(None, "/healthz").text
    assert "GET /studies" in caplog.text
    assert token not in caplog.text
    assert other not in caplog.text


def test_the_document_names_every_address_with_examples(served):
    document = served.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    told = document["paths"]["/studies/{name}/coverage"]["get"]
    assert {each["name"] for each in told["parameters"]} >= {"limit_method", "cl", "b", "s_true", "verdict", "at"}
    assert document["components"]["schemas"]["Observation"]["examples"][0]["observed"] == {"n": 3, "b": 5.5}


@pytest.fixture(scope="module")
def schema(served):
    return schemathesis.openapi.from_dict(served.client.get("/openapi.json").json())


def test_no_question_is_answered_with_a_fault_of_the_service(served, schema):
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith("/report/{name}/{"):
            continue

        @settings(
            max_examples=5,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case):
            if "name" in (case.path_parameters or {}) and len(asked) % 4:
                case.path_parameters["name"] = "tiny"
            response = case.call(base_url=str(served.client.base_url), allow_redirects=False, timeout=60)
            asked.append(response.status_code)
            case.validate_response(
                response,
                checks=[
                    schemathesis.checks.not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        given(case=operation.as_strategy())(ask)()
    assert len(asked) > 40
    assert 200 in asked
    assert 422 in asked


def test_what_takes_too_long_is_ended_and_the_service_goes_on(served, monkeypatch):
    state = served.app.state.covsvc
    monkeypatch.setattr(state, "seconds", 0.005)
    monkeypatch.setattr(state._children, "_seconds", 0.005)  # of a child that has started and is warm
    methods = [{"name": "feldman_cousins", "options": {"monotone_in_b": True}}]
    asked = {"experiment": "counting", "observed": {"n": 900_000, "b": 800_000.0}, "limit_method": methods}
    response = served.client.post("/limits", json=asked)
    assert response.status_code == 422
    assert "more than 0.005 s" in said(response)
    assert served.client.get(POINT).status_code == 200
