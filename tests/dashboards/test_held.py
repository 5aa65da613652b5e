"""What the pages ask for: commits to choose from, maps at hand, and what goes wrong in a sentence."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from covsvc import api
from covsvc.errors import StoreError
from covsvc_dashboards.held import Held


@asynccontextmanager
async def holding(store):
    held = Held(store)
    try:
        yield held
    finally:
        held.close()


def test_commits_are_offered_by_their_names_and_then_the_last_ones(store):
    async def ask():
        async with holding(store) as held:
            return await held.names(), await held.commits("tiny")

    names, commits = asyncio.run(ask())
    assert names == ["events", "tiny"]
    values, labels = zip(*commits, strict=True)
    baselines = [each["tag"] for each in api.baselines("tiny", store)[0]["baselines"]]
    snapshots = [each["snapshot"] for each in api.history("tiny", store)]
    assert list(values) == ["main", *baselines, "first", *snapshots]
    assert [label.split(",")[0] for label in labels[1:4]] == ["baseline v2", "baseline v1", "tag first"]
    for value in values:
        api.open_cube(store, "tiny", value).close()


def test_maps_are_those_of_the_newest_commit(store):
    async def ask():
        async with holding(store) as held:
            snapshot, maps = await held.maps("tiny", "main")
            assert await held.newest("tiny") == snapshot
            return maps

    maps = asyncio.run(ask())
    assert maps.equals(api.read_maps(store, "tiny"))


@pytest.mark.parametrize(
    ("study", "at", "said"),
    [
        ("tinny", "main", "tinny: unknown study, did you mean 'tiny'?"),
        ("tiny", "nope", "tiny: no snapshot 'nope', no tag and no time"),
    ],
)
def test_what_is_not_there_is_said_without_the_place_of_the_store(store, study, at, said):
    async def ask():
        async with holding(store) as held:
            await held.maps(study, at)

    with pytest.raises(StoreError) as caught:
        asyncio.run(ask())
    assert str(caught.value).startswith(said)
    assert store not in str(caught.value)


def test_a_child_has_imported_what_it_needs_before_somebody_waits(store):
    async def ask():
        async with holding(store) as held:
            await held.warm()
            return await held.in_child(eval, "'icechunk' in __import__('sys').modules")

    assert asyncio.run(ask())


def test_a_job_that_breaks_off_is_told_and_the_next_one_is_done(store):
    async def ask():
        async with holding(store) as held:
            with pytest.raises(StoreError, match="a part of the server broke off: ZeroDivisionError"):
                await held.in_child(divmod, 1, 0)
            return await held.in_child(divmod, 7, 2)

    assert asyncio.run(ask()) == (3, 1)
