"""Building of the tables of the interval methods, here or on a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from covsvc.engine.gathering import gather
from covsvc.errors import TaskError
from covsvc.fingerprint import code_of
from covsvc.interval_tables import Calibrated, IntervalTable, p_max_part, write_table, written_at_once
from covsvc.kernels import calibration
from covsvc.kernels.gaps import max_gap_cdf, max_gap_quantile
from covsvc.kernels.intervals import MOST_INSIDE
from covsvc.version import __version__

if TYPE_CHECKING:
    from distributed import Client

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHUNK = 160
"""Blocks of toys that one generator draws; a task draws some chunks."""

_SPACING = 0.0085
"""Ratio of neighbouring nodes in mu, less 1."""
_SMALLEST_WEIGHT = 1e-9
"""Probability of a number of events below which it is left out."""
_PILOT, _LEAST = 16, 100_000
"""The first round, which finds the windows of the second, draws so many times fewer toys, but not fewer than these."""
_SIGMAS = 8.0
"""Half width of a window, in standard errors of the first round."""
_VALUES = 17
"""Values in a window at which toys are counted."""
_CONTROLS = 16
"""Control variates of an entry, at most."""
_C_MAX, _P_MAX = "c_max", "p_max"
_REACH = {_C_MAX: 100.0, _P_MAX: 3000.0}
"""How far the first round looks: down to 1 - cl over this."""
_STAGES = {"pilot": 1, "final": 2}
_FROM = 8.0
"""Smallest mu at which an interval with one event is decided below a third of the range, and less."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Curves:
    """Where C_k reaches what, below a third of mu: `lower_curves` at some mu."""

    mu: FloatArray
    ends: FloatArray
    logarithms: FloatArray


@dataclass
class Entry:
    """A statistic at a mu, with the values which toys are counted above, and what was counted.

    Attributes
    ----------
    values : ndarray of float, shape (value,)
    thresholds : ndarray of float, shape (value, column)
    atoms : ndarray of int, shape (value,)
        The k whose whole range has that value; -1: none has.
    lower : int
        Index of an entry at the same mu whose lowest value is below all of these; its own if there is none.
    """

    statistic: str
    mu: float
    values: FloatArray
    thresholds: FloatArray
    atoms: IntArray
    lower: int
    controls: IntArray
    means: FloatArray

    def __post_init__(self) -> None:
        number = len(self.controls)
        self.above = np.zeros(len(self.values))
        self.reaching = np.zeros(len(self.values))
        self.variance = 0.0
        self._sum = np.zeros(number)
        self._matrix = np.zeros((number, number))
        self._with = np.zeros(number)

    @property
    def centre(self) -> int:
        """Index of the value at which the controls are counted."""
        return len(self.values) // 2

    def add(self, events: int, weight: float, toys: int, counts: IntArray, sums: IntArray, products: IntArray) -> None:
        """Add what toys with so many events did."""
        number, held = len(self.values), len(self.controls)
        above = 1.0 - np.cumsum(counts)[:number] / toys
        self.above += weight * above
        # a whole range with no more events than an atom has reaches its value anyway
        self.reaching += weight * np.where((self.atoms >= 0) & (events <= self.atoms), 1.0, above)
        share = sums[:held] / toys
        both = products[:held, :held] / toys
        both = both + np.tril(both, -1).T
        z = above[self.centre]
        self._sum += weight * share
        self._matrix += weight**2 / toys * (both - np.outer(share, share))
        self._with += weight**2 / toys * share * (1.0 - z)
        self.variance += weight**2 / toys * z * (1.0 - z)

    def add_no_events(self, weight: float) -> None:
        """Add the toy without events: the whole range is empty, which nothing exceeds."""
        self.above += weight
        self.reaching += weight
        self._sum += weight

    def finish(self) -> None:
        """Take off what the controls are known to be too large by."""
        if not len(self.controls):
            return
        slope = np.linalg.lstsq(self._matrix, self._with, rcond=1e-9)[0]
        shift = float(slope @ (self._sum - self.means))
        self.above -= shift
        self.reaching -= shift
        self.variance = max(self.variance - float(slope @ self._with), 0.0)

    def level(self, alpha: float) -> float:
        """Return the smallest value which is exceeded with at most this probability: linear in the logarithms."""
        for j in range(len(self.values)):
            if self.above[j] <= alpha:
                if self.reaching[j] > alpha:
                    return float(self.values[j])
                if j == 0:
                    break
                # towards a value that is an atom its probability still counts
                left, right = (math.log(max(each, 1e-300)) for each in (self.above[j - 1], self.reaching[j]))
                part = (left - math.log(alpha)) / (left - right) if left > right else 1.0
                low, high = math.log1p(-self.values[j - 1]), math.log1p(-self.values[j])
                return -math.expm1(low + part * (high - low))
        return math.nan


@dataclass(frozen=True)
class _Asked:
    """What an entry is made from; `lower` as there, None for its own."""

    statistic: str
    mu: float
    values: FloatArray
    lower: int | None = None


@dataclass(frozen=True)
class _Root:
    """Where a threshold or the end of an atom is looked for."""

    statistic: str
    cl: float
    k: int
    low: float
    high: float


def build_tables(
    levels: Sequence[float],
    toys: int,
    seed: int,
    largest_mu: float,
    folder: Path,
    client: Client | None = None,
    progress: Progress | None = None,
) -> list[IntervalTable]:
    """Build the tables of some confidence levels from the same toys, and write them to a folder.

    Toys are drawn at each number of events and mixed exactly, in proportion, over its Poisson distribution. What is
    done is kept in `folder`: an interrupted build goes on from there.

    Parameters
    ----------
    levels : sequence of float
        Confidence levels, in [0.5, 1).
    toys : int
        Toys at each mu.
    seed : int
    largest_mu : float
        Where the tables end, expected events.
    folder : Path
    client : distributed.Client, optional
        Without one all is done in this process.
    progress : callable, optional
        Is told the stage and how much of it is done, from 0 to 1.

    Raises
    ------
    TaskError
        If a task fails, or the toys are too few to find a threshold.
    ClusterError
        If the cluster is lost.
    """
    return _Building(tuple(sorted(levels)), toys, seed, largest_mu, folder, client, progress or _silent).tables()


class _Building:
    def __init__(
        self,
        levels: tuple[float, ...],
        toys: int,
        seed: int,
        largest_mu: float,
        folder: Path,
        client: Client | None,
        progress: Progress,
    ) -> None:
        self.levels, self.toys, self.seed, self.largest_mu = levels, toys, seed, largest_mu
        self.client, self.progress = client, progress
        self.pilot_toys = min(toys, max(toys // _PILOT, _LEAST))
        self.columns = min(
            int((special.gammainc(np.arange(MOST_INSIDE) + 1.0, largest_mu) > levels[0]).sum()), MOST_INSIDE
        )
        self.most_events = math.ceil(stats.poisson.isf(_SMALLEST_WEIGHT, largest_mu))
        told = [levels, toys, seed, largest_mu, code_of(__name__)]
        self.folder = folder / f"building-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        start = -math.log1p(-levels[0])
        nodes = math.ceil(math.log(largest_mu / start) / math.log1p(_SPACING))
        self.mu = np.geomspace(start, largest_mu, nodes + 1)[1:]
        self._curves: Any = None

    def tables(self) -> list[IntervalTable]:
        """Return the tables, of ascending cl."""
        pilot = self._pilot()
        roots = self._roots_near(pilot)
        final, brackets = self._final(pilot, roots)
        tables = [self._table(cl, final, brackets) for cl in self.levels]
        for table in tables:
            write_table(table, self.folder.parent)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()
        return tables

    def _find_curves(self) -> Curves:
        """Find where C_k reaches what, at nodes of mu which are dense enough to interpolate between."""
        mu = np.geomspace(
            _FROM, max(self.largest_mu, 2.0 * _FROM) * 1.02, 4 + math.ceil(math.log(self.largest_mu) / 0.03)
        )
        reach = 1.0 - 1.2 * (1.0 - self.levels[0]), 1.0 - 0.5 * (1.0 - self.levels[-1]) / _REACH[_C_MAX]
        found: dict[int, tuple[FloatArray, FloatArray]] = {}
        # the long ones first
        calls = ((i, (float(mu[i]), self.columns, *reach)) for i in range(len(mu) - 1, -1, -1))
        for i, curve in self._run(_lower_curves, calls):
            found[i] = curve
            self.progress("C_n", (len(found) / len(mu)) ** 3)
        return Curves(mu, *(np.array([found[i][part] for i in range(len(mu))]) for part in (0, 1)))

    def _pilot(self) -> dict[tuple[str, float], Entry]:
        """Find the statistics' distributions roughly, at all nodes."""
        asked = []
        for statistic in (_C_MAX, _P_MAX):
            alphas = 1.1 * (1.0 - self.levels[0]), (1.0 - self.levels[-1]) / _REACH[statistic]
            values = 1.0 - np.geomspace(*alphas, 48 if statistic == _C_MAX else 80)
            asked += [_Asked(statistic, mu, values) for mu in self.mu.tolist()]
        entries = self._count("pilot", self.pilot_toys, asked, controls=False)
        return {(entry.statistic, entry.mu): entry for entry in entries}

    def _roots_near(self, pilot: dict[tuple[str, float], Entry]) -> list[_Root]:
        """Find thresholds and ends of atoms roughly: where an atom's value is exceeded, or reached, with 1 - cl."""
        found = []
        for statistic in (_C_MAX, _P_MAX):
            entries = [pilot[statistic, mu] for mu in self.mu.tolist()]
            for k in range(2, self.columns):
                held = [(entry, int(np.flatnonzero(entry.atoms == k)[0])) for entry in entries if k in entry.atoms]
                mu = np.array([entry.mu for entry, _ in held])
                for cl in self.levels:
                    start = _fall(mu, np.array([entry.above[j] for entry, j in held]), 1.0 - cl, self.pilot_toys)
                    end = _fall(mu, np.array([entry.reaching[j] for entry, j in held]), 1.0 - cl, self.pilot_toys)
                    if start and end:
                        near = [at + sign * width for at, width in (start, end) for sign in (-1, 1)]
                        # few toys leave it wide open
                        low, high = max(min(near), 0.5 * start[0]), min(max(near), 1.02 * self.largest_mu)
                        found.append(_Root(statistic, cl, k, low, high))
        return found

    def _final(
        self, pilot: dict[tuple[str, float], Entry], roots: list[_Root]
    ) -> tuple[dict[tuple[str, float, float], Entry], list[tuple[_Root, list[Entry]]]]:
        """Count all toys in narrow windows around what the first round found."""
        asked: list[_Asked] = []
        keys: list[tuple[str, float, float]] = []
        for (statistic, mu), entry in pilot.items():
            lower: int | None = None
            for cl in self.levels:
                if mu <= _first_end(statistic, cl):
                    continue
                alpha = 1.0 - cl
                half = _SIGMAS * math.sqrt(alpha * cl / self.pilot_toys)
                chances = np.linspace(alpha + half, max(alpha - half, 0.1 * alpha), _VALUES)
                found = np.array([entry.level(chance) for chance in chances])
                # no wider than what the first round looked at
                ends = np.where(chances >= entry.above[0], entry.values[0], entry.values[-1])
                values = np.unique(np.where(np.isnan(found), ends, found))
                parent = lower if lower is not None and asked[lower].values[0] <= values[0] else None
                asked.append(_Asked(statistic, mu, values, parent))
                keys.append((statistic, mu, cl))
                lower = len(asked) - 1 if lower is None else lower
        windows = len(asked)
        for root in roots:
            for mu in np.linspace(root.low, root.high, 3).tolist():
                value = np.array([special.gammainc(root.k + 1.0, mu)])
                asked.append(_Asked(root.statistic, mu, value))
        entries = self._count("final", self.toys, asked, controls=True)
        rest = entries[windows:]
        return dict(zip(keys, entries[:windows], strict=True)), [
            (root, rest[3 * i : 3 * i + 3]) for i, root in enumerate(roots)
        ]

    def _table(
        self,
        cl: float,
        final: dict[tuple[str, float, float], Entry],
        brackets: list[tuple[_Root, list[Entry]]],
    ) -> IntervalTable:
        parts = {}
        for statistic in (_C_MAX, _P_MAX):
            thresholds, ends = np.full(self.columns, np.inf), np.full(self.columns, np.inf)
            errors: dict[float, float] = {}
            thresholds[0], ends[0] = 0.0, -math.log1p(-cl)
            thresholds[1], ends[1] = _first_threshold(statistic, cl), _first_end(statistic, cl)
            for root, entries in brackets:
                if (root.statistic, root.cl) == (statistic, cl):
                    thresholds[root.k], ends[root.k] = _roots_of(root, entries)
                    for at in (thresholds[root.k], ends[root.k]):
                        errors[at] = math.sqrt(entries[1].variance)
            parts[statistic] = self._calibrated(statistic, cl, thresholds, ends, final, errors)
        mu = np.unique(np.concatenate([self.mu, special.gammaincinv(np.arange(self.columns) + 1.0, cl)]))
        mu = mu[mu <= self.largest_mu]
        fixed = np.concatenate(self._invert([(each, np.array([cl])) for each in mu.tolist()]))
        made_by = {
            "toys": self.toys,
            "seed": self.seed,
            "largest_mu": self.largest_mu,
            "version": __version__,
            "built_with": list(self.levels),
        }
        return IntervalTable(cl, parts[_C_MAX], parts[_P_MAX], mu, fixed, made_by)

    def _calibrated(
        self,
        statistic: str,
        cl: float,
        thresholds: FloatArray,
        ends: FloatArray,
        final: dict[tuple[str, float, float], Entry],
        errors: dict[float, float],
    ) -> Calibrated:
        in_order = np.where(np.isfinite(ends), ends, 2.0 * self.largest_mu + np.arange(len(ends)))
        if (np.diff(in_order) <= 0).any() or (thresholds > ends).any():
            raise TaskError(
                f"{statistic} at cl = {cl:g}: thresholds and ends of atoms are out of order; take more toys"
            )
        special_nodes = np.concatenate([thresholds[1:], ends])
        nodes = np.unique(np.concatenate([self.mu, special_nodes[np.isfinite(special_nodes)]]))
        nodes = nodes[(nodes >= ends[0]) & (nodes <= self.largest_mu)]
        value, error = np.empty(len(nodes)), np.zeros(len(nodes))
        for i, mu in enumerate(nodes.tolist()):
            k = int(np.searchsorted(ends, mu))
            if k < self.columns and mu >= thresholds[k]:
                value[i] = special.gammainc(k + 1.0, mu)
                error[i] = errors.get(mu, 0.0)
            elif mu <= thresholds[1]:
                value[i] = cl if statistic == _C_MAX else -math.expm1(-max_gap_quantile(cl, mu))
            else:
                entry = final[statistic, mu, cl]
                value[i], error[i] = entry.level(1.0 - cl), math.sqrt(entry.variance)
            if math.isnan(value[i]):
                raise TaskError(f"{statistic} at mu = {mu:.6g}, cl = {cl:g}: outside of the window; take more toys")
        if statistic == _P_MAX:
            g = p_max_part(nodes, value, ends)
        else:
            g = np.concatenate(
                self._invert([(mu, np.array([c])) for mu, c in zip(nodes.tolist(), value.tolist(), strict=True)])
            )
            g = np.where(nodes[:, None] <= ends, 1.0, g)
        held = int((g.min(axis=0) < 1).sum())
        return Calibrated(nodes, value, error, g[:, :held], thresholds[:held], ends[:held])

    def _count(self, stage: str, toys: int, asked: list[_Asked], *, controls: bool) -> list[Entry]:
        """Count toys above the values of each entry."""
        entries = self._entries(stage, asked, controls=controls)
        means = np.array([entry.mu for entry in entries])
        weights = [np.asarray(stats.poisson.pmf(events, means)) for events in range(self.most_events + 1)]
        for entry, weight in zip(entries, weights[0], strict=True):
            entry.add_no_events(float(weight))
        chosen = {events: np.flatnonzero(weights[events] > _SMALLEST_WEIGHT) for events in range(1, len(weights))}
        blocks = np.zeros(self.most_events + 1, np.int64)
        for events, which in chosen.items():
            if len(which):
                blocks[events] = math.ceil(toys * weights[events][which].max() / calibration.BLOCK)

        def calls() -> Iterator[tuple[int, tuple[Any, ...]]]:
            for events, which in chosen.items():
                if not blocks[events] or self._stored(stage, events):
                    continue
                last = np.ceil(toys * weights[events][which] / calibration.BLOCK).astype(np.int64)
                looked_at = self._share(_packed([entries[i] for i in which], which, last))
                for first in range(0, int(blocks[events]), CHUNK):
                    yield events, (self.seed, _STAGES[stage], events, int(blocks[events]), first, looked_at)

        for events, (counts, sums, products) in self._by_events(stage, _count_excesses, calls(), blocks):
            which = chosen[events]
            for row, i in enumerate(which):
                weight = float(weights[events][i])
                entries[i].add(events, weight, int(counts[row].sum()), counts[row], sums[row], products[row])
        for entry in entries:
            entry.finish()
        return entries

    def _entries(self, stage: str, asked: list[_Asked], *, controls: bool) -> list[Entry]:
        atoms = [_atoms(self.columns, each.mu) for each in asked]
        with_atoms: list[FloatArray] = []
        for each, own in zip(asked, atoms, strict=True):
            inside = own[(own > each.values[0]) & (own < each.values[-1])]
            with_atoms.append(np.unique(np.concatenate([each.values, inside])))
        by_c_max = [i for i, each in enumerate(asked) if each.statistic == _C_MAX]
        inverted = dict(
            zip(by_c_max, self._invert([(asked[i].mu, with_atoms[i]) for i in by_c_max], stage), strict=True)
        )
        entries = []
        for i, each in enumerate(asked):
            mu, values = each.mu, with_atoms[i]
            if each.statistic == _C_MAX:
                thresholds = inverted[i]
            else:
                x = special.gammaincinv(np.arange(self.columns) + 1.0, values[:, None])
                thresholds = np.where(atoms[i] <= values[:, None], 1.0, np.minimum(x / mu, 1.0))
            hits = values[:, None] == atoms[i]
            at = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
            picked, means = np.zeros(0, np.int64), np.zeros(0)
            if controls:
                centre = len(values) // 2
                usable = int((thresholds[centre] < 1).sum())
                picked = np.unique(np.linspace(0, usable - 1, min(usable, _CONTROLS)).astype(np.int64))
                if each.statistic == _C_MAX:
                    means = np.full(len(picked), 1.0 - values[centre])
                else:
                    means = calibration.known_excesses(mu, picked, thresholds[centre])
            lower = i if each.lower is None else each.lower
            entries.append(Entry(each.statistic, mu, values, thresholds, at, lower, picked, means))
        return entries

    def _invert(self, asked: list[tuple[float, FloatArray]], stage: str = "") -> list[FloatArray]:
        """Return the f_k at which C_k reaches each of the values, at each mu."""
        if self._curves is None:
            self._curves = self._share(self._find_curves())
        size = 32
        calls = (
            (first, (asked[first : first + size], self._curves, self.columns)) for first in range(0, len(asked), size)
        )
        found: dict[int, list[FloatArray]] = {}
        for done, (first, result) in enumerate(self._run(_invert, calls)):
            found[first] = result
            if stage:
                self.progress(f"{stage}: thresholds", min((done + 1) * size / len(asked), 1.0))
        return [each for first in sorted(found) for each in found[first]]

    def _by_events(
        self, stage: str, function: Callable[..., Any], calls: Iterable[tuple[int, tuple[Any, ...]]], blocks: IntArray
    ) -> Iterator[tuple[int, list[IntArray]]]:
        """Yield what was counted at each number of events, in this order, from the folder or from the calls.

        Numbers that are added in another order round otherwise.
        """
        chunks = np.ceil(blocks / CHUNK).astype(np.int64)
        work = blocks * np.arange(4.0, len(blocks) + 4.0)
        done = 0.0
        sums: dict[int, list[IntArray]] = {}
        left = dict(enumerate(chunks.tolist()))
        results = self._run(function, calls)
        for events in np.flatnonzero(chunks).tolist():
            if stored := self._stored(stage, events):
                with np.load(stored) as parts:
                    counted = [parts[name] for name in sorted(parts.files)]
            else:
                while left[events]:
                    at, found = next(results)
                    if at in sums:
                        for total, part in zip(sums[at], found, strict=True):
                            total += part
                    else:
                        sums[at] = [np.array(part) for part in found]
                    left[at] -= 1
                counted = sums.pop(events)
                self._store(stage, events, counted)
            done += work[events]
            self.progress(stage, done / float(work.sum()))
            yield events, counted

    def _file(self, stage: str, events: int) -> Path:
        return self.folder / f"{stage}-{events}.npz"

    def _stored(self, stage: str, events: int) -> Path | None:
        path = self._file(stage, events)
        return path if path.exists() else None

    def _store(self, stage: str, events: int, counted: list[IntArray]) -> None:
        with written_at_once(self._file(stage, events)) as file:
            np.savez(file, *counted)

    def _share(self, what: Any) -> Any:
        """Send something that many calls need to the workers once."""
        # in a list: of a dict the values would be sent one by one, known by its keys
        return what if self.client is None else self.client.scatter([what], hash=False)[0]

    def _run(
        self, function: Callable[..., Any], calls: Iterable[tuple[int, tuple[Any, ...]]]
    ) -> Iterator[tuple[int, Any]]:
        if self.client is None:
            for key, arguments in calls:
                yield key, function(*arguments)
        else:
            yield from _on_cluster(function, calls, self.client)


def _on_cluster(
    function: Callable[..., Any], calls: Iterable[tuple[int, tuple[Any, ...]]], client: Client
) -> Iterator[tuple[int, Any]]:
    submissions = ((client.submit(function, *arguments, pure=False), key) for key, arguments in calls)
    for key, future, result in gather(submissions, client, "what is done is kept, build again to go on"):
        if future.status != "finished":
            raise TaskError(f"building tables: {future.exception()!r}")
        yield key, result


def _generator(seed: int, stage: int, events: int, chunk: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stage, events, chunk))))


def _packed(entries: list[Entry], which: IntArray, last: IntArray) -> dict[str, Any]:
    """Return the entries as arrays: what a task looks at."""
    values = max(len(entry.values) for entry in entries)
    thresholds = np.ones((len(entries), values, entries[0].thresholds.shape[1]))
    controls = np.full((len(entries), max(_CONTROLS, 1)), -1)
    index = {int(each): row for row, each in enumerate(which)}
    for row, entry in enumerate(entries):
        thresholds[row, : len(entry.values)] = entry.thresholds
        controls[row, : len(entry.controls)] = entry.controls
    return {
        "thresholds": thresholds,
        "columns": (thresholds[:, 0] < 1).sum(axis=1),
        "last": last,
        "lower": np.array([index[entry.lower] for entry in entries]),
        "centre": np.array([entry.centre for entry in entries]),
        "controls": controls,
    }


def _lower_curves(mu: float, columns: int, smallest: float, largest: float) -> tuple[FloatArray, FloatArray]:
    # a compiled function would be sent as a whole, and each worker would compile it anew
    ends, logarithms = calibration.lower_curves(mu, columns, smallest, largest)
    return ends, logarithms


def _count_excesses(
    seed: int, stage: int, events: int, blocks: int, first: int, looked_at: dict[str, Any]
) -> list[IntArray]:
    entries, values, _ = looked_at["thresholds"].shape
    held = looked_at["controls"].shape[1]
    filled = [
        np.zeros((entries, values + 1), np.int64),
        np.zeros((entries, held), np.int64),
        np.zeros((entries, held, held), np.int64),
    ]
    rng = _generator(seed, stage, events, first // CHUNK)
    told = (looked_at[name] for name in ("thresholds", "columns", "last", "lower", "centre", "controls"))
    calibration.tally_excesses(rng, events, first, min(CHUNK, blocks - first), *told, *filled)
    return filled


def _invert(asked: list[tuple[float, FloatArray]], curves: Curves, columns: int) -> list[FloatArray]:
    found = []
    for mu, values in asked:
        atoms = _atoms(columns, mu)
        gaps = np.minimum(max_gap_quantile(values, mu) / mu, 1.0)
        found.append(calibration.thresholds_of(mu, values, gaps, atoms, curves.mu, curves.ends, curves.logarithms))
    return found


def _atoms(columns: int, mu: float) -> FloatArray:
    """Return C_k(mu, mu) = P(mu, k + 1) of each column: the probability of more than k events in the whole range."""
    return np.asarray(special.gammainc(np.arange(columns) + 1.0, mu))


def _first_threshold(statistic: str, cl: float) -> float:
    """Return the mu from which on one event in the whole range excludes as much as any gap: exact."""
    if statistic == _C_MAX:
        return float(special.gammaincinv(2.0, cl))
    start = -math.log1p(-cl)
    return float(
        optimize.brentq(
            lambda mu: special.gammainc(2.0, mu) + math.expm1(-max_gap_quantile(cl, mu)),
            start * 1.0001,
            20.0 + 3.0 * start,
        )
    )


def _first_end(statistic: str, cl: float) -> float:
    """Return the mu from which on one event in the whole range excludes with cl: exact.

    At and above its value are all toys with one event or none, and those with more whose largest gap has a larger one.
    """

    def chance(mu: float) -> float:
        atom = float(special.gammainc(2.0, mu))
        if statistic == _C_MAX:
            x, exceeded = float(max_gap_quantile(atom, mu)), 1.0 - atom
        else:
            x = float(-math.log1p(-atom))
            exceeded = 1.0 - float(max_gap_cdf(x, mu))
        of_one = min(max(2.0 * (1.0 - x / mu), 0.0), 1.0)
        # with no event the gap is the whole range, which exceeds
        return float(exceeded + mu * math.exp(-mu) * (1.0 - of_one))

    start = _first_threshold(statistic, cl)
    return float(optimize.brentq(lambda mu: chance(mu) - (1.0 - cl), start, 2.0 * start + 5.0))


def _fall(mu: FloatArray, chance: FloatArray, alpha: float, toys: int) -> tuple[float, float] | None:
    """Return where a probability that falls with mu is alpha, and how far around that it may be so."""
    falls = np.flatnonzero((chance[:-1] > alpha) & (chance[1:] <= alpha))
    if not len(falls):
        return None
    i = int(falls[0])
    slope = (chance[i + 1] - chance[i]) / (mu[i + 1] - mu[i])
    at = float(mu[i] + (alpha - chance[i]) / slope)
    return at, max(_SIGMAS * math.sqrt(alpha * (1.0 - alpha) / toys) / -float(slope), 1e-3 * at)


def _roots_of(root: _Root, entries: list[Entry]) -> tuple[float, float]:
    """Return the threshold and the end of the atom: where the probabilities to be above and to reach it are 1 - cl.

    Each lies on the parabola through three points. Where no toy tells them apart they are one.
    """
    mu = np.array([entry.mu for entry in entries])
    alpha = 1.0 - root.cl
    found = []
    for chance in (np.array([entry.above[0] for entry in entries]), np.array([entry.reaching[0] for entry in entries])):
        curve = np.polynomial.Polynomial.fit(mu, chance - alpha, 2)
        inside = [float(at.real) for at in curve.roots() if abs(at.imag) < 1e-9 and mu[0] <= at.real <= mu[2]]
        if not (chance[0] > alpha > chance[2] and inside):
            raise TaskError(
                f"{root.statistic} at cl = {root.cl:g}: the threshold of n = {root.k} is not where the first round saw "
                f"it, between mu = {root.low:.6g} and {root.high:.6g}; take more toys"
            )
        found.append(inside[0])
    return found[0], max(found)


def _silent(_: str, __: float) -> None:
    return None
