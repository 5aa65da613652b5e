"""Which cluster is meant: from what is given to a name with its options, or to the address of a scheduler."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covsvc import registry
from covsvc.engine.clusters.encryption import hold_safe, split_address
from covsvc.errors import StudyError, UnknownName
from covsvc.study import Study
from covsvc.study_file import read_mapping

VARIABLE = "COVSVC_CLUSTERS"
"""Names a folder with the options of clusters, NAME.yaml."""

_EXAMPLES = "slurm, tls://HOST:8786, scheduler.json or slurm.yaml"


@dataclass(frozen=True)
class Choice:
    """A cluster that is started here, or a scheduler that runs.

    Attributes
    ----------
    name : str
        Of an installed cluster; "" where it is a scheduler.
    address : str
        Of a scheduler, with which it is safe to talk; "" where a cluster is started.
    options : mapping
        Of the cluster that is started.
    told : str
        As it was given, or the file that says it.
    """

    name: str = ""
    address: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    told: str = ""


def choose(given: str) -> Choice | None:
    """Return the cluster that is meant; None for ``"none"``, which is this process.

    Parameters
    ----------
    given : str
        ``"none"``; the name of an installed cluster; the address of a scheduler; a scheduler file of Dask, FILE.json;
        or a file with a cluster's name and options, FILE.yaml.

    Raises
    ------
    UnknownName
        If no cluster has this name.
    StudyError
        If there is nothing, a file cannot be read or is another one, or an address is refused.
    """
    if given == "none":
        return None
    if not given.strip():
        raise StudyError(f"cluster {given!r}: names none; give local, none, {_EXAMPLES}")
    if "://" in given:
        return Choice(address=_address(given), told=given)
    suffix = Path(given).suffix.lower()
    if suffix == ".json":
        return _of_scheduler_file(Path(given))
    if suffix in (".yaml", ".yml"):
        return _of_option_file(Path(given))
    if re.fullmatch(r".+:\d+", given):
        raise StudyError(f"{given}: an address begins with tls://, or with tcp:// if it is one of this machine")
    _hold_known(given, "none")
    return _by_name(given)


def chosen(given: Any, *studies: Study) -> Any:
    """Return what `covsvc.engine.clusters.connect` takes: what is given, else what studies name, else None.

    Parameters
    ----------
    given : None, distributed.Client or str
        As `covsvc.run` takes it.
    *studies : Study
        What is to be done there, all on one cluster.

    Raises
    ------
    StudyError
        As of `choose`; if the studies name several clusters, or one that studies may not name.
    """
    if given is not None:
        return choose(given) if isinstance(given, str) else given
    named = {study.cluster: study.name for study in studies if study.cluster}
    if not named:
        return None
    if len(named) > 1:
        told = ", ".join(f"{study} {cluster}" for cluster, study in named.items())
        raise StudyError(f"the studies name several clusters: {told}; give one of them with --cluster")
    ((cluster, study),) = named.items()
    choice = choose(cluster)
    if choice is not None and choice.address and not choice.address.startswith("tls://"):
        raise StudyError(
            f"{study}: cluster: {cluster} leads to {choice.address}, but a study names schedulers with TLS only; "
            f"if you trust it, give --cluster {cluster}"
        )
    return choice


def _address(given: str) -> str:
    scheme, host, port = split_address(given)
    hold_safe(given)
    if scheme not in ("tcp", "tls"):
        raise StudyError(f"{given}: no address of a scheduler; one is tls://HOST:8786")
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _of_scheduler_file(path: Path) -> Choice:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        cure = "`dask scheduler --scheduler-file` writes one when it is up"
        raise StudyError(f"{path}: {error.strerror}; {cure}") from None
    except (ValueError, RecursionError):
        raise StudyError(f"{path}: no JSON; `dask scheduler --scheduler-file` writes what is meant") from None
    address = told.get("address") if isinstance(told, dict) else None
    if not isinstance(address, str):
        raise StudyError(f"{path}: no scheduler file: it has no address; `dask scheduler --scheduler-file` writes one")
    try:
        return Choice(address=_address(address), told=str(path))
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None


def _of_option_file(path: Path) -> Choice:
    if not path.exists():
        raise StudyError(f"{path}: no such file; one to begin with is in deploy/clusters")
    options = read_mapping(path)
    if "experiment" in options:
        raise StudyError(f"{path}: a study, not the options of a cluster, such as deploy/clusters/slurm.yaml")
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise StudyError(f"{path}: names no cluster; its first line is such as `name: slurm`")
    try:
        _hold_known(name)
    except UnknownName as error:
        raise UnknownName(f"{path}: name: {error}") from None
    return Choice(name, options=options, told=str(path))


def _by_name(name: str) -> Choice:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return Choice(name, told=name)
    if not Path(folder).is_dir():
        raise StudyError(f"{VARIABLE}={folder}: no such folder; it holds the options of clusters, such as slurm.yaml")
    path = Path(folder, f"{name}.yaml")
    if not path.exists():
        return Choice(name, told=name)
    choice = _of_option_file(path)
    if choice.name != name:
        raise StudyError(f"{path}: holds the options of {choice.name}, not of {name}; rename it, or mend its name")
    return choice


def _hold_known(name: str, *more: str) -> None:
    known = registry.installed("clusters")
    if name not in known:
        raise UnknownName.of("cluster", name, [*known, *more])
