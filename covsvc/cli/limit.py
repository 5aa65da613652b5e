"""`covsvc limit`: limits on real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from covsvc.cli.printing import (
    AS_JSON,
    EXPECTED,
    level,
    new_table,
    observed_table,
    print_json,
    print_table,
    say,
    scaled,
)
from covsvc.errors import StudyError

if TYPE_CHECKING:
    from covsvc.data_file import Observed

_REFUSED = 2
_S_MAX, _SHAPE = 12.0, "gamma"
_SCAN_METHODS = {"counting": "cls", "on_off": "q_mu_tilde"}


def _data(name: str, what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--{name}", name.replace("-", "_"), type=float, metavar="NUMBER", help=what)


@click.command()
@_data("n", "Observed events in the signal region.")
@_data("b", "Expected background events.")
@_data("b-error", "With --b: the error of the expected background.")
@_data("n-on", "Observed events on source.")
@_data("n-off", "Observed events off source.")
@_data("tau", "Expected background off source over that on source.")
@_data("n-out", "Observed events outside of the signal region, the sideband included.")
@_data("n-sb", "Observed events in the sideband: they tell b = zeta-sb x n-sb.")
@_data(
    "zeta",
    "Expected background of the signal region over that of the whole, outside included: what significance rests on.",
)
@_data("zeta-sb", "Expected background of the signal region over that of the sideband.")
@click.option(
    "--shape",
    type=click.Choice(["gamma", "truncated_gaussian"]),
    help="With --b-error: how the background is distributed; gamma unless given.",
)
@click.option(
    "--cl",
    "levels",
    type=float,
    multiple=True,
    default=(0.90,),
    metavar="NUMBER",
    help="Confidence level, in [0.5, 1); may be repeated; 0.90 unless given.",
)
@click.option(
    "-m",
    "--method",
    "names",
    multiple=True,
    metavar="NAME[,OPTION=VALUE]...",
    help="A limit method with its options, as `covsvc methods` lists them; may be repeated; all that read such data "
    "unless given. view=Counts makes one that reads counts off source take b = n-off/tau for known.",
)
@click.option(
    "--coverage",
    is_flag=True,
    help="Add the exact coverage of each method there: how often its limits hold the true signal.",
)
@click.option(
    "--s-max",
    type=float,
    metavar="EVENTS",
    help="With --coverage: the worst case is searched for 0 <= s <= s-max; 12 unless given.",
)
@click.option(
    "--expected",
    is_flag=True,
    help="Add the limits expected without a signal: the median and the +-1 and +-2 sigma bands.",
)
@click.option(
    "--scale",
    type=float,
    metavar="NUMBER",
    help="The branching fraction or cross section of one event: limits are shown times this, too.",
)
@click.option(
    "--quantity",
    metavar="NAME",
    help="With --scale, --scan, --events or --workspace: its name, for example 'B(tau -> mu gamma)'.",
)
@click.option(
    "--scan",
    type=click.Path(dir_okay=False),
    metavar="FILE.csv",
    help="Limits over a model parameter, with the expected ones: a CSV file whose columns are the parameter, the data "
    "(n_on for --n-on) and, if wanted, scale.",
)
@click.option(
    "--figure",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="With --scan, --events or --workspace: the picture, PNG, SVG or PDF; that file's name with .png unless given.",
)
@click.option(
    "--events",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The positions of events: text or CSV, one a line, a header or none. Or, of any dimension, the columns "
    "signal_density and background_density, both densities at each event.",
)
@click.option(
    "--spectrum",
    metavar="FILE|NAME:OPTION=NUMBER,...",
    help="With --events, where the background is unknown: the signal's spectrum. A file with the columns position and "
    "dN/dE, for a cross section of 1; "
    "or uniform:low=2,high=60, exponential with scale, gaussian with mean and width, too, each with events=NUMBER, "
    "those of a cross section of 1.",
)
@click.option(
    "--background",
    metavar="FILE|NAME:OPTION=NUMBER,...",
    help="With --spectrum: what is known of the background, its expected events told in the same way.",
)
@click.option(
    "--signal-density",
    metavar="FILE|NAME:OPTION=NUMBER,...",
    help="With --events, where the background has a known density: that of the signal. A file with the columns "
    "position and density, whose integral is 1; or a named one, as for --spectrum, without events.",
)
@click.option(
    "--background-density",
    metavar="FILE|NAME:OPTION=NUMBER,...",
    help="With --signal-density: that of the background, told in the same way; how much of it there is is unknown, "
    "unless --b tells it for the range of the fit.",
)
@click.option(
    "--range",
    "within",
    metavar="LOW,HIGH",
    help="With --events: look at a part of the spectrum or of the densities; events outside are left out.",
)
@click.option("--column", metavar="NAME", help="With --events: the column of the positions, if there are several.")
@click.option(
    "--workspace",
    type=click.Path(dir_okay=False),
    metavar="FILE.json",
    help="Counts in bins, with templates and nuisance parameters: a HistFactory workspace in JSON, as pyhf writes it.",
)
@click.option(
    "--observation",
    metavar="COUNT,...|FILE",
    help="With --workspace: other counts than it has, bin by bin, channel by channel.",
)
@click.option(
    "--measurement", metavar="NAME", help="With --workspace: which, if it has several; the first unless given."
)
@click.option(
    "--interpolation",
    type=click.Choice(["smooth", "linear"]),
    help="With --workspace: between templates, polynomials (codes 4 and 4p) or lines and exponentials (0 and 1); "
    "smooth unless given.",
)
@click.option(
    "--store",
    default="coverage-cubes",
    show_default=True,
    envvar="COVSVC_STORE",
    metavar="FOLDER|URL",
    help="With densities or --workspace: where the calibrations of methods that draw toys once are kept.",
)
@AS_JSON
def limit(
    shape: str | None,
    levels: tuple[float, ...],
    names: tuple[str, ...],
    coverage: bool,
    s_max: float | None,
    expected: bool,
    scale: float | None,
    quantity: str | None,
    scan: str | None,
    figure: str | None,
    events: str | None,
    spectrum: str | None,
    background: str | None,
    signal_density: str | None,
    background_density: str | None,
    within: str | None,
    column: str | None,
    workspace: str | None,
    observation: str | None,
    measurement: str | None,
    interpolation: Literal["smooth", "linear"] | None,
    store: str,
    as_json: bool,
    **data: float | None,
) -> None:
    """Set the limits on one observation by all methods, or some; or on a scan of them.

    \b
    A count over a known background; over one with an error; counted off source;
    counts in a signal region, outside of it, and in the sideband, a part of that:
      covsvc limit --n 3 --b 5.5
      covsvc limit --n 3 --b 5.5 --b-error 1
      covsvc limit --n-on 3 --n-off 11 --tau 2
      covsvc limit --n 3 --n-out 15 --n-sb 10 --zeta 0.25 --zeta-sb 0.5

    \b
    Methods, levels, coverage, expected limits, a branching fraction, a plot:
      covsvc limit --n 0 --b 3 -m feldman_cousins,monotone_in_b=true --cl 0.95
      covsvc limit --n 3 --b 5.5 -m classical -m cls --coverage
      covsvc limit --n 0 --b 0.3 -m sampling_distribution,n_toys=10000 --expected
      covsvc limit --n 3 --b 5.5 --scale 8.4e-7 --quantity "B(tau -> mu gamma)"
      covsvc limit --scan masses.csv -m cls     with the columns mass,n,b,scale

    \b
    Positions of events over an unknown background, and the signal's spectrum:
      covsvc limit --events events.csv --spectrum spectrum.csv --cl 0.95
      covsvc limit --events e.csv --spectrum exponential:scale=9,low=2,high=60

    \b
    Positions of events, and the densities of signal and background there; what is
    known of the background in that range; or both densities told at each event:
      covsvc limit --events m.csv --background-density uniform:low=5,high=15
        --signal-density gaussian:mean=10,width=1,low=5,high=15
      covsvc limit --events m.csv --signal-density s.csv
        --background-density b.csv --range 5,15 --b 20 --b-error 4 --expected
      covsvc limit --events densities.csv --cl 0.95

    \b
    Counts in bins with nuisance parameters; other counts than those of the file:
      covsvc limit --workspace workspace.json --cl 0.95 --expected
      covsvc limit --workspace workspace.json --observation 51,48 -m q_mu_tilde

    Limits are expected signal events: `< 3.57` an upper limit, `[0.10, 6.42]` a two-sided interval, `empty` if even
    s = 0 is excluded, `no limit` if no signal is; why is said on stderr. Below those on counts stands the
    significance of a signal, by the equations of Narsky (Nucl. Instrum. Meth. A 450 (2000) 444); beside those with a
    --spectrum the interval that decided; beside those on bins the strength of the signal, and below them what fits
    best. Events with densities and counts in bins are drawn with their likelihood. Exit code 2: bad input, or a method
    that was named failed.
    """  # noqa: D301 - click wants the character itself
    given = {key: value for key, value in data.items() if value is not None}
    methods = [parse_method(name) for name in names]
    if s_max is not None and not coverage:
        raise StudyError("--s-max: how far the worst coverage is searched; give --coverage, too")
    of_events = {
        "spectrum": spectrum,
        "background": background,
        "signal_density": signal_density,
        "background_density": background_density,
        "range": within,
        "column": column,
    }
    of_bins = {"observation": observation, "measurement": measurement, "interpolation": interpolation}
    others = {"coverage": coverage, "expected": expected, "scale": scale, "scan": scan, "shape": shape}
    if workspace is not None:
        _refuse_with_workspace(given, {"events": events} | of_events | others)
        from covsvc.cli.limit_workspace import limit_workspace

        limit_workspace(
            workspace, observation, measurement, interpolation or "smooth", methods, levels, expected=expected,
            quantity=quantity, figure=figure, store=store, as_json=as_json,
        )  # fmt: skip
        return
    for name in _given(of_bins):
        raise StudyError(f"--{name}: belongs to counts in bins; give --workspace, too")
    if events is not None:
        densities = _densities(events, of_events, others, given)
        if densities is not None:
            from covsvc.cli.limit_densities import limit_densities

            known = given | ({"shape": shape or _SHAPE} if given.get("b_error") else {})
            limit_densities(
                events, densities or None, _ends(within), column, known, methods, levels, expected=expected,
                scale=scale, quantity=quantity, figure=figure, store=store, as_json=as_json,
            )  # fmt: skip
            return
        from covsvc.cli.limit_events import limit_events

        _refuse_with_events([*given], _given(others))
        if spectrum is None:
            raise StudyError(
                "--events: positions are held against the signal's spectrum; give --spectrum, too; or, where the "
                "background is known, --signal-density and --background-density"
            )
        limit_events(events, spectrum, background, _ends(within), column, methods, levels, quantity, figure, as_json)
        return
    for name in _given(of_events):
        raise StudyError(f"--{name.replace('_', '-')}: belongs to the positions of events; give --events, too")
    if scan is None:
        if figure is not None:
            raise StudyError(
                "--figure: the limit plot is that of a --scan, the picture that of --events or --workspace"
            )
        if shape is not None and not given.get("b_error"):
            raise StudyError("--shape: that of a background with an error; give --b-error, too")
        reach = (_S_MAX if s_max is None else s_max) if coverage else None
        _one(given, shape or _SHAPE, methods, levels, reach, expected, scale, quantity, as_json)
        return
    refused = [*given, *(["scale"] if scale is not None else [])]
    if refused:
        raise StudyError(f"--{refused[0].replace('_', '-')}: a scan takes its data and scales from its columns")
    if coverage:
        raise StudyError("--coverage: is that of one observation; leave it out, or give the data of one point")
    if len(levels) > 1:
        raise StudyError(f"--cl {levels[1]:g}: a scan is drawn at one confidence level")
    drawn = Path(figure) if figure is not None else Path(scan).with_suffix(".png")
    _scan(scan, methods, levels[0], shape, quantity, drawn, as_json)


def _given(options: Mapping[str, Any]) -> list[str]:
    """Return the options that were given."""
    return [name for name, value in options.items() if value is not None and value is not False]


def _ends(within: str | None) -> tuple[float, float] | None:
    if within is None:
        return None
    try:
        low, high = (float(end) for end in within.split(","))
    except ValueError:
        raise StudyError(f"--range {within}: give both ends as LOW,HIGH, for example 2,60") from None
    return low, high


def _refuse_with_events(data: list[str], asked: list[str]) -> None:
    if data:
        raise StudyError(f"--{data[0].replace('_', '-')}: events are counted in their file; leave it out")
    reasons = {
        "coverage": "is known from toys, not enumerated; `covsvc run` with the experiment spectrum finds it",
        "expected": "there is no expectation where the background is unknown; leave it out",
        "scale": "the spectrum tells what a cross section of 1 gives; leave it out",
        "scan": "is of counts; give the events of one model, or leave --events out",
        "shape": "that of a count's background; leave it out",
    }
    for name in asked:
        raise StudyError(f"--{name}: {reasons[name]}")


def _densities(
    events: str, of_events: Mapping[str, Any], others: Mapping[str, Any], data: Mapping[str, float]
) -> tuple[str, str] | tuple[()] | None:
    """Return what tells the densities of events; nothing where their file does; None where they have none."""
    from covsvc.density_file import tells_densities

    told = [name for name in _given(of_events) if name.endswith("_density")]
    if not told and (of_events["spectrum"] is not None or not tells_densities(events)):
        return None
    for name in _given(of_events):
        if name in ("spectrum", "background"):
            cure = "leave it out, or the densities" if told else "the file tells densities; leave it out"
            raise StudyError(f"--{name}: belongs to a background of which no density is known; {cure}")
        if name in ("range", "column") and not told:
            raise StudyError(f"--{name}: the file tells both densities at each event, and they are read; leave it out")
    if len(told) == 1:
        missing = {"signal_density", "background_density"}.difference(told).pop().replace("_", "-")
        raise StudyError(f"--{told[0].replace('_', '-')}: the likelihood needs both densities; give --{missing}, too")
    for name in data:
        if name not in ("b", "b_error"):
            raise StudyError(f"--{name.replace('_', '-')}: events are counted in their file; leave it out")
    if "b_error" in data and "b" not in data:
        raise StudyError("--b-error: is the error of the expected background; give --b, too")
    reasons = {
        "coverage": "is known from toys, not enumerated; `covsvc run` with an experiment like gaussian_flat finds it",
        "scan": "is of counts; give the events of one model, or leave --events out",
    }
    for name in _given(others):
        if name in reasons:
            raise StudyError(f"--{name}: {reasons[name]}")
    if others["shape"] is not None and not data.get("b_error"):
        raise StudyError("--shape: that of a background with an error; give --b-error, too")
    return (of_events["signal_density"], of_events["background_density"]) if told else ()


def _refuse_with_workspace(data: Mapping[str, float], others: Mapping[str, Any]) -> None:
    told = "the workspace tells counts, templates and nuisance parameters; leave it out"
    reasons = {
        "coverage": "is known from toys, not enumerated; `covsvc run` with the experiment binned finds it",
        "scale": "limits are shown as strengths of the signal, too, which the workspace tells; leave it out",
        "scan": "is of counts without bins; give a workspace at a time",
    }
    for name in (*data, *(each for each in _given(others) if each != "expected")):
        raise StudyError(f"--{name.replace('_', '-')}: {reasons.get(name, told)}")


def _one(
    given: dict[str, float],
    shape: str,
    methods: list[dict[str, Any]],
    levels: tuple[float, ...],
    s_max: float | None,
    expected: bool,
    scale: float | None,
    quantity: str | None,
    as_json: bool,
) -> None:
    from covsvc import api
    from covsvc.data_file import observation_of, scale_of
    from covsvc.study import HIGHEST

    observed = observation_of(given, shape)
    if scale is not None:
        scale_of(scale)
    if s_max is not None and not 0 <= s_max <= HIGHEST:
        raise StudyError(f"--s-max {s_max:g}: expected events lie in [0, {HIGHEST:g}]")
    if quantity is not None and scale is None:
        raise StudyError("--quantity: names what events times --scale are; give --scale, too")
    asked = methods or api.readers_of(observed.experiment)
    found = api.limits_on(
        observed.experiment,
        observed.data,
        asked,
        list(levels),
        s_max=s_max,
        options=observed.options,
        expected=expected,
    )
    significances = api.significances_on(observed.experiment, observed.data, observed.options)
    if as_json:
        told: dict[str, Any] = given | {"experiment": observed.experiment, "options": observed.options}
        told["significance"] = significances
        if scale is not None:
            told |= {"scale": scale, "quantity": quantity}
        print_json([row | told | ({"scaled": row["upper"] * scale} if scale is not None else {}) for row in found])
    else:
        click.echo(_sentence(given, observed))
        print_table(observed_table(found, scale, quantity or "x scale"))
        for name, value in significances.items():
            click.echo(f"significance, {name}: {_sigmas(value)}")
        for row in found:
            if row["reason"]:
                say(f"{row['limit_method']} at {level(row['cl'])}: {row['status']}: {row['reason']}")
    if methods and any(row["status"] == "failed" for row in found):
        raise click.exceptions.Exit(_REFUSED)


def _scan(
    file: str,
    methods: list[dict[str, Any]],
    cl: float,
    shape: str | None,
    quantity: str | None,
    figure: Path,
    as_json: bool,
) -> None:
    from covsvc import api
    from covsvc.report.limit_plot import MOST
    from covsvc.report.picture import FORMATS

    # before the work, which may be long
    if figure.suffix.lower() not in FORMATS:
        raise StudyError(f"--figure {figure}: a limit plot is written as {', '.join(FORMATS)}")
    if len(methods) > MOST:
        raise StudyError(f"--method: a limit plot of {len(methods)} methods cannot be read; choose at most {MOST}")
    name, points = api.read_scan(file, shape or _SHAPE)
    if shape is not None and not any("shape" in point.observed.options for point in points):
        raise StudyError(f"--shape: that of a background with an error; {file} has no b_error above 0")
    shown = quantity or ("signal events x scale" if any(point.scale != 1.0 for point in points) else "signal events")
    figure.parent.mkdir(parents=True, exist_ok=True)
    asked = methods or [{"name": _SCAN_METHODS[points[0].observed.experiment]}]
    found = api.scan_limits(name, points, asked, cl, quantity=shown, progress=say)
    rows = api.rows_of_scan(found)
    path = api.write_scan(found, figure)
    if as_json:
        print_json({"figure": str(path), "cl": cl, "parameter": name, "quantity": shown, "points": rows})
    else:
        table = new_table("method", name, shown, *EXPECTED)
        for row in rows:
            seen = scaled(row["observed"], 1.0) if row["status"] in ("ok", "unbounded") else row["status"]
            bands = [scaled(each, 1.0) for each in row["expected"]]
            table.add_row(row["limit_method"], f"{row['parameter']:.12g}", seen, *bands)
        print_table(table)
        click.echo(f"Limit plot at {level(cl)}: {path}")
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed:
        say(f"{row['limit_method']} failed at {name} = {row['parameter']:.12g}; `covsvc limit` on its data says why")
    if methods and failed:
        raise click.exceptions.Exit(_REFUSED)


def parse_method(told: str) -> dict[str, Any]:
    """Return name, options and view of ``NAME,OPTION=VALUE,...``; a value in brackets may hold commas."""
    import re

    import yaml

    name, *options = (part.strip() for part in re.split(r",(?![^\[]*\])", told))
    if not name:
        raise StudyError(f"--method {told!r}: give the name of a method, for example cls")
    found: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise StudyError(
                f"--method {told}: options are given as OPTION=VALUE, for example feldman_cousins,monotone_in_b=true"
            )
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise StudyError(f"--method {told}: {value!r} is no value") from None
    beside = {key: found.pop(key) for key in ("view", "label") if key in found}
    return {"name": name, "options": found} | beside


def _sentence(given: dict[str, float], observed: Observed) -> str:
    shape = f" ({observed.options['shape']})" if "shape" in observed.options else ""
    return "observed: " + ", ".join(f"{key} = {value:.12g}" for key, value in given.items()) + shape


def _sigmas(value: float) -> str:
    if math.isfinite(value):
        return f"{round(value, 2) + 0.0:.2f} sigma"
    return "infinite" if value > 0 else "none, no event was observed"
