"""Folders and URLs: what is taken, what is refused, and what is never said."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from covsvc import api
from covsvc.errors import StoreError
from covsvc.store.bucket import Bucket
from covsvc.store.folder import Folder
from covsvc.store.place import place_of

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("cubes", "cubes"),
        (Path("a/b"), "a/b"),
        ("with:colon", "with:colon"),
        ("file:///data/my%20cubes", "/data/my cubes"),
        ("file://localhost/data", "/data"),
        ("FILE:/data", "/data"),
    ],
)
def test_a_folder_is_named_by_a_path_or_a_file_url(store, path):
    assert place_of(store) == Folder(Path(path))
    assert place_of(store).study("x") == f"{path}/x"


@pytest.mark.parametrize(
    ("store", "bucket", "prefix", "where"),
    [
        ("s3://cubes/a/b/", "cubes", "a/b", "s3://cubes/a/b"),
        ("s3://cubes", "cubes", "", "s3://cubes"),
        ("S3://cubes/x y", "cubes", "x y", "s3://cubes/x y"),
        ("gs://my.bucket_1/x", "my.bucket_1", "x", "gs://my.bucket_1/x"),
        ("az://container/x", "container", "x", "az://container/x"),
    ],
)
def test_a_bucket_is_named_by_a_url(store, bucket, prefix, where):
    place = place_of(store)
    assert isinstance(place, Bucket)
    assert (place.objects.bucket, place.prefix, place.where) == (bucket, prefix, where)
    assert place.study("x") == f"{where}/x"


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("http://example.org/cubes", "no store is known at such URLs; a store is a folder, or s3://bucket/prefix"),
        (f"ftp://me:{SECRET}@example.org/cubes", "no store is known at such URLs"),
        (f"file://{SECRET}/cubes", "no store is known at such URLs"),
        ("s3://", "name a bucket and a prefix, s3://bucket/prefix"),
        ("s3:///prefix", "name a bucket and a prefix"),
        ("s3://bucket//prefix", "name a bucket and a prefix"),
        (Path("s3://bucket/prefix"), "s3:/bucket/prefix: name a bucket and a prefix"),
        (
            f"s3://AKIA:{SECRET}@bucket/prefix",
            "holds no user, password, key or query; credentials, endpoint and region",
        ),
        (f"s3://AKIA:{SECRET}/more@bucket/prefix", "holds no user, password, key or query"),
        (f"s3://AKIA:{SECRET}/bucket", "holds no user, password, key or query"),
        (f"s3://bucket/prefix?secret_access_key={SECRET}", "holds no user, password, key or query"),
        (f"gs://bucket/prefix#{SECRET}", "holds no user, password, key or query"),
    ],
)
def test_other_urls_are_refused_and_their_secrets_not_repeated(store, told):
    with pytest.raises(StoreError, match=told) as refused:
        api.open_cube(store, "small")
    assert SECRET not in str(refused.value)
    assert "AKIA" not in str(refused.value)


def test_the_command_line_refuses_a_url_with_a_key_and_does_not_repeat_it(covsvc):
    code, out, err = covsvc("status", "--store", f"s3://AKIA:{SECRET}@bucket/prefix")
    assert (code, out) == (2, "")
    assert err.startswith("covsvc: s3:...: the URL of a store holds no user, password, key or query;")
    assert SECRET not in err


def test_the_library_of_object_stores_is_named_where_it_is_missing(monkeypatch):
    for name in ("obstore", "obstore.exceptions", "obstore.store"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StoreError, match=r's3://cubes: object stores need a library; pip install "covsvc\[s3\]"'):
        api.stored_studies("s3://cubes/x")


@pytest.fixture
def aws(monkeypatch):
    """Set the credentials of a service where nobody listens."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("command", [["status"], ["plan", "study.yaml"], ["run", "study.yaml"], ["report", "small"]])
def test_a_service_that_is_down_is_given_up_within_seconds_and_the_cure_named(covsvc, aws, small_study, command):
    Path("study.yaml").write_text(json.dumps(small_study().model_dump(mode="json")))
    begun = time.monotonic()
    code, out, err = covsvc(*command, "--store", "s3://cubes/x")
    assert time.monotonic() - begun < 20
    assert (code, out) == (2, "")
    assert err == "covsvc: s3://cubes: cannot be reached; see AWS_ENDPOINT_URL (unset for AWS itself) and AWS_REGION\n"


@pytest.mark.parametrize(
    ("store", "where", "named"),
    [
        ("s3://cubes/x", "AWS_METADATA_ENDPOINT", "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
        ("az://cubes/x", "AZURE_MSI_ENDPOINT", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_missing_credentials_are_told_within_seconds(aws, monkeypatch, store, where, named):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "nobody")
    monkeypatch.setenv(where, "http://127.0.0.1:9/latest/token")
    begun = time.monotonic()
    with pytest.raises(StoreError, match=f"no credentials; set {named}"):
        api.stored_studies(store)
    assert time.monotonic() - begun < 20


def test_a_container_needs_an_account(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match="az://cubes: whose container"):
        api.stored_studies("az://cubes/x")


def test_who_holds_a_folder_is_told_without_a_trace(small_study, tmp_path):
    place = place_of(tmp_path / "none")
    assert place.holder("small") == ""
    assert not (tmp_path / "none").exists()
    with place.lock("small") as still_held:
        still_held()
        assert place.holder("small").startswith("pid ")
    assert place.holder("small") == ""
