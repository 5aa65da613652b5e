"""A cluster of pods, which the operator of Dask starts on Kubernetes."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from covsvc.engine.clusters import workers_of
from covsvc.engine.clusters.encryption import security, split_address
from covsvc.engine.clusters.handshake import client_at
from covsvc.engine.clusters.jobqueue import with_library
from covsvc.engine.clusters.options import read_options, with_workers
from covsvc.engine.clusters.waiting import FIRST, Waiting
from covsvc.engine.gathering import be_patient
from covsvc.errors import ClusterError, StudyError
from covsvc.signals import uninterrupted

_INSIDE = "kubernetes.default.svc"
"""A name that every cluster knows, and nobody else."""

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_LOOK = 2.0
"""Seconds between two looks at what starts."""

log = logging.getLogger(__name__)


@contextmanager
def connect(
    n_workers: int | None, options: Mapping[str, Any], tell: Callable[[str], None] | None = None
) -> Iterator[Any]:
    """Start a scheduler and workers in pods, or use those that stand; yield their client.

    What is started is removed at the end. The driver runs in a pod, too: names of services are known there only.

    Parameters
    ----------
    n_workers : int, optional
        Pods, instead of the bounds among the options.
    options : mapping
        As `KubernetesCluster` has them.
    tell : callable, optional
        Is told in a sentence what is waited for.

    Raises
    ------
    StudyError
        If an option is refused, the driver is outside of Kubernetes, or may not do there what it has to.
    ClusterError
        If no scheduler answers in time, or the API server does not.
    """
    with_library("kubernetes", "dask_kubernetes.operator", "kubernetes")
    from covsvc.engine.clusters.kubernetes_api import Server
    from covsvc.engine.clusters.kubernetes_resources import KubernetesCluster, address_of

    told = read_options(KubernetesCluster, "kubernetes", with_workers(options, n_workers))
    if told.existing and (n_workers is not None or "workers" in options):
        raise StudyError(f"kubernetes: existing: {told.existing} has its own workers; leave out how many there are")
    security()  # before anything is made
    _hold_inside()
    namespace = told.namespace or _own_namespace()
    with ExitStack() as opened:
        server = opened.enter_context(Server())
        if told.existing:
            name = _hold_existing(server, namespace, told.existing)
        else:
            name = opened.enter_context(_made(server, namespace, told))
        address = address_of(name, namespace)
        _, host, port = split_address(address)
        _await(
            lambda: _listens(host, port),
            Waiting("the scheduler", told.patience, tell),
            "scheduler",
            server,
            namespace,
            name,
        )
        client = opened.enter_context(client_at(address))
        be_patient(client, told.patience)
        _await(lambda: workers_of(client), Waiting(FIRST, told.patience, tell), "worker", server, namespace, name)
        yield client


def _hold_inside() -> None:
    """Refuse to work where names of services are not known."""
    try:
        socket.getaddrinfo(_INSIDE, 443)
    except socket.gaierror:
        raise StudyError(
            f"kubernetes: {_INSIDE} is no name here: the driver has to run in the cluster, as the Job of "
            "deploy/kubernetes/run does"
        ) from None


def _own_namespace() -> str:
    try:
        return _NAMESPACE.read_text().strip()
    except OSError as error:
        raise StudyError(f"kubernetes: namespace: missing, and {_NAMESPACE}: {error.strerror}; name one") from None


def _own_pod(server: Any, namespace: str) -> dict[str, Any] | None:
    """Return the pod of this process, if it is one of this namespace that can be read."""
    with suppress(ClusterError, StudyError):
        pod: dict[str, Any] = server.ask("GET", "pods", namespace, socket.gethostname())
        return pod
    return None


def _hold_existing(server: Any, namespace: str, name: str) -> str:
    from covsvc.engine.clusters.kubernetes_api import Gone

    try:
        server.ask("GET", "daskclusters", namespace, name)
    except Gone:
        raise StudyError(
            f"kubernetes: existing: {name}: no DaskCluster of namespace {namespace}; "
            f"`kubectl get daskclusters --namespace {namespace}` lists them"
        ) from None
    return name


@contextmanager
def _made(server: Any, namespace: str, told: Any) -> Iterator[str]:
    """Make a cluster of a new name; remove it at the end, whatever happens."""
    from covsvc.engine.clusters.kubernetes_resources import dask_autoscaler, dask_cluster

    pod = _own_pod(server, namespace)
    image = told.image or (pod["spec"]["containers"][0]["image"] if pod else None)
    if image is None:
        raise StudyError(
            f"kubernetes: image: missing, and no pod {socket.gethostname()} of namespace {namespace} can be read to "
            "take that of the driver; name one that holds the same covsvc"
        )
    name = f"{told.prefix}-{secrets.token_hex(4)}"
    with ExitStack() as made:
        with uninterrupted():
            # before it is asked for: it may be made although no answer comes
            made.callback(_remove, server, namespace, name)
            server.ask("POST", "daskclusters", namespace, told=dask_cluster(name, namespace, image, told, pod))
            if told.workers.minimum < told.workers.maximum:
                server.ask("POST", "daskautoscalers", namespace, told=dask_autoscaler(name, namespace, told.workers))
        yield name


def _remove(server: Any, namespace: str, name: str) -> None:
    """Remove a cluster and all that belongs to it; nothing if there is none."""
    from covsvc.engine.clusters.kubernetes_api import Gone

    with uninterrupted():
        for kind in ("daskautoscalers", "daskclusters"):
            try:
                server.ask("DELETE", kind, namespace, name)
            except Gone:
                continue
            except StudyError:  # was refused when it was to be made, too
                continue
            except ClusterError as error:
                log.warning("%s; `kubectl delete --namespace %s %s %s` removes it", error, namespace, kind, name)


def _await(happened: Callable[[], Any], waiting: Waiting, what: str, server: Any, namespace: str, name: str) -> None:
    """Wait until something happened that a pod of a cluster, its scheduler or a worker, has to do."""
    while not happened():
        why = _why_not(what, server, namespace, name)
        if waiting.left < 0:
            raise ClusterError(f"kubernetes: {name}: no {what} within {waiting.patience:g} s (patience): {why}")
        waiting.say(why)
        time.sleep(_LOOK)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _LOOK):
            return True
    except OSError:
        return False


def _why_not(what: str, server: Any, namespace: str, name: str) -> str:
    """Say what keeps the scheduler, or the workers, from coming.

    Raises
    ------
    ClusterError
        If their DaskCluster is gone.
    """
    told = server.ask("GET", "daskclusters", namespace, name)
    if not told.get("status", {}).get("phase"):
        return "the operator has not seen it; is it running, and does it watch this namespace?"
    labels = f"dask.org/cluster-name={name},dask.org/component={what}"
    try:
        pods = server.ask("GET", "pods", namespace, params={"labelSelector": labels})["items"]
    except StudyError as error:
        return str(error)
    reasons = {reason for pod in pods for reason in _reasons(pod.get("status", {}))}
    if reasons:
        return "; ".join(sorted(reasons))
    if pods:
        return f"its pod is {pods[0].get('status', {}).get('phase', 'new')}; do network policies let it be reached?"
    return f"it has no pod; `kubectl describe replicasets --namespace {namespace} --selector {labels}` says why"


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a pod waits for."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{condition.get('reason', 'Unscheduled')}: {condition.get('message', '')}"
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason", "ContainerCreating") != "ContainerCreating":
            yield f"{waiting['reason']}: {waiting.get('message', '')}"
