"""The resources of a cluster on Kubernetes, as the operator of Dask takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, ValidationInfo, field_validator

from covsvc.engine.clusters.options import Bounds, Line, Size, StartedCluster
from covsvc.engine.clusters.quiet import QUIET, variable_of

API = "kubernetes.dask.org/v1"
"""Group and version of the resources of the operator."""

PORT, PAGES = 8786, 8787
"""Of the scheduler: for workers and driver, and for its pages and the operator."""

WORKER, NANNY, WORKER_PAGES = 8788, 8789, 8790
"""Ports of a worker."""

_TLS, _SCRATCH = "/etc/covsvc/tls", "/tmp"  # noqa: S108 - of a pod, which has it for itself

_USER = 10001
"""Of the image; Kubernetes is told, so that it holds it."""

_OF_WORKER = 0.9
"""Share of a pod's memory that a worker may take; the rest is for the process that watches it."""

_OURS = {
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "initContainers",
    "securityContext",
    "volumes",
}
"""Settings of pods that are not for options: they hold what a pod may do."""


def _name(text: str) -> str:
    from dask_kubernetes.exceptions import ValidationError
    from dask_kubernetes.operator.validation import validate_cluster_name

    try:
        validate_cluster_name(text)
    except ValidationError:
        raise ValueError("at most 53 small letters, digits and hyphens") from None
    return text


def _prefix(text: str) -> str:
    if len(_name(text)) > _LONGEST:
        raise ValueError(f"at most {_LONGEST} letters")
    return text


def _pod(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if held := sorted(_OURS & settings.keys()):
        raise ValueError(f"{', '.join(held)}: held by covsvc; give what places a pod, such as nodeSelector")
    return settings


_LONGEST = 40
"""Letters of a prefix: what makes a name unique comes after it."""


class KubernetesCluster(StartedCluster):
    """Options of a cluster of pods.

    Attributes
    ----------
    existing : str, optional
        A DaskCluster that stands already; it keeps its workers, and is left as it is.
    prefix : str
        Beginning of the name of what is made.
    namespace : str, optional
        That of the driver, unless told.
    image : str, optional
        That of the driver's pod, unless told.
    tls_secret : str
        Holds ca.pem, cert.pem and key.pem of the scheduler and the workers.
    memory, cpu : str, float
        Of each worker, which is one thread.
    scheduler_memory, scheduler_cpu : str, float
        Of the scheduler.
    idle_seconds : int
        After which the operator removes a cluster whose driver was killed; 0 is never.
    pod : mapping
        What else stands in the pods of scheduler and workers, such as nodeSelector, tolerations, imagePullSecrets.
    """

    existing: Annotated[str, AfterValidator(_name)] | None = None
    prefix: Annotated[str, AfterValidator(_prefix)] = "covsvc"
    namespace: Line | None = None
    image: Line | None = None
    tls_secret: Line = "covsvc-dask-tls"  # noqa: S105 - the name of one
    memory: Size = "4 GB"
    cpu: PositiveFloat = 1
    scheduler_memory: Size = "4 GB"
    scheduler_cpu: PositiveFloat = 1
    idle_seconds: NonNegativeInt = 900
    pod: Annotated[Mapping[str, Any], AfterValidator(_pod)] = Field(default_factory=dict)

    @field_validator("idle_seconds")
    @classmethod
    def _hold_time(cls, seconds: int, info: ValidationInfo) -> int:
        patience = info.data.get("patience", 0)
        if 0 < seconds <= patience:
            raise ValueError(f"a cluster that waits for workers is idle: more than the patience of {patience:g}, or 0")
        return seconds


def dask_cluster(
    name: str, namespace: str, image: str, options: KubernetesCluster, owner: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a DaskCluster.

    Parameters
    ----------
    name, namespace, image : str
    options : KubernetesCluster
    owner : mapping, optional
        The driver's pod: what it owns is removed with it.
    """
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/name": "covsvc-dask", "app.kubernetes.io/part-of": "covsvc"},
    }
    if owner is not None:
        told = owner["metadata"]
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": told["name"], "uid": told["uid"]}]
    return {
        "apiVersion": API,
        "kind": "DaskCluster",
        "metadata": metadata,
        "spec": {
            "idleTimeout": options.idle_seconds,
            "scheduler": {"spec": _scheduler_pod(image, options), "service": _service(name)},
            "worker": {
                "replicas": options.workers.minimum,
                "spec": _worker_pod(f"tls://{name}-scheduler:{PORT}", image, options),
            },
        },
    }


def dask_autoscaler(name: str, namespace: str, bounds: Bounds) -> dict[str, Any]:
    """Return what has the operator start workers while there is work for them, and end them after it."""
    return {
        "apiVersion": API,
        "kind": "DaskAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"cluster": name, "minimum": bounds.minimum, "maximum": bounds.maximum},
    }


def address_of(name: str, namespace: str) -> str:
    """Return the address of the scheduler of a DaskCluster."""
    return f"tls://{name}-scheduler.{namespace}.svc:{PORT}"


def _service(name: str) -> dict[str, Any]:
    ports = {"tcp-comm": PORT, "http-dashboard": PAGES}  # names that the operator looks for
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": each, "protocol": "TCP", "port": ports[each], "targetPort": each} for each in ports],
    }


def _scheduler_pod(image: str, options: KubernetesCluster) -> dict[str, Any]:
    command = ["dask", "scheduler", "--protocol", "tls", "--port", str(PORT), "--dashboard-address", f":{PAGES}"]
    settings = {
        # the operator asks here: over the connections of Dask it speaks no TLS
        "distributed.scheduler.http.routes": [
            "distributed.http.health",
            "distributed.http.scheduler.api",
            "distributed.http.scheduler.info",
            "distributed.http.scheduler.prometheus",
            "distributed.http.statics",
        ],
        # a driver sends a few tasks a worker, so that what waits is never worth more than a few seconds
        "distributed.adaptive.target-duration": "200ms",
        "distributed.scheduler.allowed-failures": 10,  # pods are evicted: a task whose worker died is no bad one
    }
    container = {
        **_container("scheduler", image, command, settings, options.scheduler_cpu, options.scheduler_memory),
        "ports": [
            {"name": "tcp-comm", "containerPort": PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": PAGES, "protocol": "TCP"},
        ],
        "readinessProbe": _probe(periodSeconds=2, timeoutSeconds=5),
        "livenessProbe": _probe(initialDelaySeconds=60, periodSeconds=20, timeoutSeconds=20, failureThreshold=6),
    }
    return _pod_of(container, options)


def _worker_pod(scheduler: str, image: str, options: KubernetesCluster) -> dict[str, Any]:
    from dask.utils import parse_bytes

    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--protocol", "tls", "--nthreads", "1"]
    command += ["--memory-limit", str(int(_OF_WORKER * parse_bytes(options.memory))), "--local-directory", _SCRATCH]
    command += ["--worker-port", str(WORKER), "--nanny-port", str(NANNY), "--dashboard-address", f":{WORKER_PAGES}"]
    command += ["--death-timeout", "60"]
    # the operator would set one in plain text
    container = _container("worker", image, command, {"scheduler-address": scheduler}, options.cpu, options.memory)
    return _pod_of(container, options)


def _container(
    role: str, image: str, command: list[str], settings: Mapping[str, Any], cpu: float, memory: str
) -> dict[str, Any]:
    from dask.utils import parse_bytes

    tls = {
        f"distributed.comm.tls.{side}.{what}": f"{_TLS}/{file}"
        for side in ("scheduler", "worker", "client")
        for what, file in (("cert", "cert.pem"), ("key", "key.pem"))
    }
    told = {"distributed.comm.require-encryption": True, "distributed.comm.tls.ca-file": f"{_TLS}/ca.pem"}
    environment = {"HOME": _SCRATCH} | {
        variable_of(key): value for key, value in {**told, **tls, **QUIET, **settings}.items()
    }
    resources = {"cpu": f"{1000 * cpu:.0f}m", "memory": str(parse_bytes(memory))}
    return {
        "name": role,
        "image": image,
        "command": command,
        "env": [{"name": name, "value": str(value)} for name, value in environment.items()],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tls", "mountPath": _TLS, "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
        ],
    }


def _pod_of(container: Mapping[str, Any], options: KubernetesCluster) -> dict[str, Any]:
    return {
        **options.pod,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [dict(container)],
        "volumes": [
            {"name": "tls", "secret": {"secretName": options.tls_secret, "defaultMode": 0o440}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "2Gi"}},
        ],
    }


def _probe(**seconds: int) -> dict[str, Any]:
    return {"httpGet": {"path": "/health", "port": "http-dashboard"}, **seconds}
