"""`covsvc trend`, as a user types it: what it says of baselines that were accepted one after the other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from covsvc import api
from covsvc.store.repository import open_cube, open_ledger

STORE = "coverage-cubes"
CLASSICAL = {"methods": ["classical"], "cl": [0.9]}


def accept(study, tag, speeds=None, store=STORE):
    """Compute a study, and make it a baseline whose validation found these speeds."""
    api.run(study, store)
    columns = [
        {"limit_method": label, "cl": cl, "toys_per_second": speed} for (label, cl), speed in (speeds or {}).items()
    ]
    candidate = f"candidate.{hashlib.sha256(tag.encode()).hexdigest()[:10]}"
    with open_ledger(store, study, branch=candidate) as ledger:
        ledger.trust_engine()
        of_study = {
            "study": study.name,
            "candidate": candidate,
            "outcome": "passed",
            "sentence": "",
            "columns": columns,
        }
        other = {"study": "another", "columns": [{"limit_method": "classical", "cl": 0.9, "toys_per_second": 7.0}]}
        ledger.tell("validation", {"schema": 1, "outcome": "passed", "studies": [other, of_study]})
    (made,) = api.accept(study.name, store, tag=tag, reason=f"because of {tag}")
    return made


@pytest.fixture
def accepted(covsvc, small_study):
    """Accept three baselines: classical in all, bayes_flat in the first, and a wider grid from the third on."""
    fast = {("classical", 0.9): 1000.0, ("bayes_flat", 0.9): None}
    first = accept(small_study(methods=["classical", "bayes_flat"], cl=[0.9]), "v1.0", fast)
    second = accept(small_study(**CLASSICAL), "v1.1", {("classical", 0.9): 1100.0})
    third = accept(small_study(**CLASSICAL, s_true=[0, 1, 2.5, 6, 8]), "v1.2")
    return first, second, third


def classical_upper(n, b, cl=0.9):
    """Return the signal at which n or fewer events have probability 1 - cl."""
    return stats.gamma.ppf(cl, n + 1) - b


def median_ratio(s_true, b):
    """Return the median over the cells of the median upper limit over the signal, nothing below zero."""
    cells = [(s, each) for s in s_true for each in b if s > 0]
    return np.median([max(classical_upper(stats.poisson.ppf(0.5, s + each), each), 0.0) / s for s, each in cells])


def test_it_holds_what_each_baseline_was_worth(accepted):
    found = api.trend("small", STORE)
    classical = found.sel(limit_method="classical", cl=0.9)
    assert found["tag"].values.tolist() == [each["tag"] for each in accepted]
    assert found["name"].values.tolist() == ["v1.0", "v1.1", "v1.2"]
    assert found["reason"].values[1] == "because of v1.1"
    assert found["same_study"].values.tolist() == [True, True, False]
    # just above a limit the coverage of a one-sided limit of a count is cl exactly
    np.testing.assert_allclose(classical["worst_coverage"], 0.9, atol=1e-9)
    for at, s_true in enumerate([(1, 2.5, 6), (1, 2.5, 6), (1, 2.5, 6, 8)]):
        assert classical["median_ratio"].values[at] == pytest.approx(median_ratio(s_true, (0, 3, 5.5)), rel=1e-9)
    np.testing.assert_array_equal(classical["toys_per_second"], [1000.0, 1100.0, np.nan])


def test_the_place_of_the_worst_coverage_is_where_it_is(accepted):
    here = api.trend("small", STORE).sel(limit_method="classical", cl=0.9).isel(baseline=0)
    s, b = float(here["worst_s_true"]), float(here["worst_b"])
    covering = np.flatnonzero(classical_upper(np.arange(100), b) > s + 1e-9)
    assert stats.poisson.pmf(covering, s + b).sum() == pytest.approx(float(here["worst_coverage"]), abs=1e-8)


def test_what_is_not_in_a_baseline_is_left_blank(accepted):
    gone = api.trend("small", STORE).sel(limit_method="bayes_flat", cl=0.9)
    assert np.isfinite(gone["worst_coverage"].values).tolist() == [True, False, False]
    assert np.isnan(gone["toys_per_second"].values).all()
    assert gone["promises"].item() == "at_least"


def test_a_column_known_from_toys_has_the_smallest_share_that_covers(covsvc, plugins, small_study):
    study = small_study(**CLASSICAL, experiment="drawn")
    accept(study, "v1.0")
    here = api.trend("small", STORE).sel(limit_method="classical", cl=0.9).isel(baseline=0)
    cube = open_cube(STORE, "small").sel(limit_method="classical", cl=0.9)
    share = cube["n_covered"] / cube["n_toys"]
    assert here["worst_coverage"].item() == share.min().item()
    assert share.sel(s_true=here["worst_s_true"].item(), b=here["worst_b"].item()).item() == share.min().item()
    # the median limit is read from bins of half a percent
    assert here["median_ratio"].item() == pytest.approx(median_ratio(study.s_true, study.b), rel=0.01)


def test_a_study_whose_plug_ins_are_gone_still_has_its_trend(covsvc, plugins, small_study):
    from covsvc import registry

    accept(small_study(**CLASSICAL, experiment="drawn"), "v1.0")
    (plugins / "strange-1.0.dist-info" / "entry_points.txt").write_text("")
    registry.installed.cache_clear()
    code, out, err = covsvc("trend", "small")
    assert (code, err) == (0, "")
    assert "classical" in out


def test_the_table_tells_each_change_once(covsvc, accepted):
    code, out, err = covsvc("trend", "small")
    assert (code, err) == (0, "")
    heading, first, second, third, _, _, *rows, note, png, svg = out.splitlines()
    assert heading == "small: 3 accepted baselines (UTC)"
    assert "v1.0, 20" in first
    assert "because of v1.0" in first
    assert third.endswith("because of v1.2 (another grid or other toys than before)")
    assert "another grid" not in second
    ratios = [f"{median_ratio(s_true, (0, 3, 5.5)):#.4g}" for s_true in [(1, 2.5, 6), (1, 2.5, 6, 8)]]
    assert [row.split() for row in rows[:2]] == [
        ["classical", "0.90", "v1.0", "to", "v1.1", "0.9000", *rows[0].split()[6:8], ratios[0], "1,100"],
        ["v1.2", "0.9000", *rows[1].split()[2:4], ratios[1]],
    ]
    assert rows[2].split()[:3] == ["bayes_flat", "0.90", "v1.0"]
    assert len(rows) == 3
    assert note.startswith("* below cl; toys/s as timed")
    assert (png, svg) == ("trend/small-0.9.png", "trend/small-0.9.svg")
    assert Path(png).read_bytes().startswith(b"\x89PNG")
    assert Path(svg).read_bytes().startswith(b"<?xml")


def test_a_much_slower_method_is_a_change(covsvc, small_study):
    for tag, speed in (("v1", 1000.0), ("v2", 1400.0), ("v3", 500.0)):
        accept(small_study(**CLASSICAL), tag, {("classical", 0.9): speed})
    rows = [line for line in covsvc("trend", "small")[1].splitlines() if "0.9000" in line]
    assert [row.split()[-1] for row in rows] == ["1,400", "500"]
    assert "v1 to v2" in rows[0]


def test_json_has_every_number_and_null_where_there_is_none(covsvc, accepted):
    code, out, err = covsvc("trend", "small", "--json", "--out", "figures")
    (told,) = json.loads(out)
    assert (code, err, told["study"]) == (0, "", "small")
    assert told["figures"] == ["figures/small-0.9.png", "figures/small-0.9.svg"]
    assert [each["tag"] for each in told["baselines"]] == [each["tag"] for each in accepted]
    assert told["baselines"][0] == {key: accepted[0][key] for key in told["baselines"][0] if key != "same_study"} | {
        "same_study": True
    }
    histories = {each["limit_method"]: each["history"] for each in told["columns"]}
    assert [each["toys_per_second"] for each in histories["classical"]] == [1000.0, 1100.0, None]
    assert [each["worst_coverage"] is None for each in histories["bayes_flat"]] == [False, True, True]
    found = api.trend("small", STORE)
    assert [each["median_ratio"] for each in histories["classical"]] == found["median_ratio"][:, 0, 0].values.tolist()


def test_studies_that_were_never_accepted_are_named_only_if_they_are_asked_for(covsvc, small_study):
    assert covsvc("trend")[0::2] == (
        0,
        "coverage-cubes: no study was accepted yet; `covsvc validate` makes candidates, `covsvc accept` baselines\n",
    )
    api.run(small_study(**CLASSICAL, name="other"), STORE)
    code, out, err = covsvc("trend", "other")
    assert (code, out) == (0, "")
    assert err == "other: never accepted; `covsvc validate` makes a candidate, `covsvc accept` its baseline\n"
    assert json.loads(covsvc("trend", "--json")[1]) == []
    accept(small_study(**CLASSICAL), "v1.0")
    code, out, err = covsvc("trend")
    assert (code, err) == (0, "")
    assert out.startswith("small: 1 accepted baseline (UTC)\n")
    assert out.count("accepted baseline") == 1


def test_an_unknown_study_is_refused(covsvc, small_study):
    api.run(small_study(**CLASSICAL), STORE)
    code, out, err = covsvc("trend", "nix")
    assert (code, out) == (2, "")
    assert "no such study in the store; stored are: small" in err
    assert not Path("trend").exists()


def test_figures_that_cannot_be_written_are_said_so(covsvc, accepted, tmp_path):
    (tmp_path / "trend").write_text("a file")
    code, _, err = covsvc("trend", "small")
    assert (code, "Traceback" in err) == (2, False)
    assert "trend" in err
