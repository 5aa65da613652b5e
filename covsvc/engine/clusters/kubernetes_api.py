"""The API server of Kubernetes, as the driver asks it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from covsvc.engine.clusters.kubernetes_resources import API
from covsvc.errors import ClusterError, StudyError

_SECONDS = 30.0
"""In which it has to answer."""

_FORBIDDEN, _NOT_FOUND = 403, 404


class Gone(ClusterError):
    """What was asked for is not there, or never was."""


class Server:
    """The API server, with the rights of the service account of this pod, or those of a kubeconfig.

    It is asked in a thread of its own: where a loop runs already, as in a notebook, no other may.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "covsvc-kubernetes")
        self._runner = asyncio.Runner()
        self._api: Any = None

    def __enter__(self) -> Server:
        try:
            self._call(self._connect())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def ask(self, verb: str, kind: str, namespace: str, name: str = "", **more: Any) -> dict[str, Any]:
        """Return what it answers.

        Parameters
        ----------
        verb : str
            Of HTTP.
        kind : str
            ``daskclusters``, ``daskautoscalers`` or ``pods``.
        namespace, name : str
        **more
            ``told``: what is sent; ``params``: what is asked for.

        Raises
        ------
        Gone
            If there is none of this name.
        StudyError
            If that is not allowed, or no operator is installed.
        ClusterError
            If it does not answer, or cannot.
        """
        version = API if kind.startswith("dask") else "v1"
        return dict(self._call(self._ask(verb, version, namespace, kind, name, **more)))

    def _call(self, question: Any) -> Any:
        bounded = asyncio.wait_for(question, _SECONDS)
        return self._thread.submit(self._runner.run, bounded).result()

    async def _connect(self) -> None:
        import kr8s.asyncio

        try:
            self._api = await kr8s.asyncio.api()
        except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
            raise StudyError(
                f"kubernetes: no credentials for the API server are found here ({error}): let the driver run in a pod "
                "with a service account, as deploy/kubernetes does, or name a kubeconfig in KUBECONFIG"
            ) from None
        except Exception as error:
            raise _unreachable(error) from None

    async def _ask(
        self, verb: str, version: str, namespace: str, kind: str, name: str, told: Any = None, **more: Any
    ) -> Any:
        import kr8s

        url = f"{kind}/{name}" if name else kind
        if told is not None:
            more["content"] = json.dumps(told)
        try:
            # of a connection that is kept nothing is left to close here
            headers = {"Connection": "close"}
            asked = self._api.call_api(verb, version, namespace=namespace, url=url, headers=headers, **more)
            async with asked as answer:
                return answer.json()
        except kr8s.ServerError as error:
            status = error.response.status_code if error.response is not None else 0
            what = f"kubernetes: {kind} in namespace {namespace}"
            if status == _FORBIDDEN:
                raise StudyError(
                    f"{what}: the API server forbids it ({error}); give the driver's service account the role of "
                    "deploy/kubernetes/base/driver.yaml"
                ) from None
            if status == _NOT_FOUND and not isinstance(error.status, dict):  # it does not know the kind
                raise StudyError(
                    f"{what}: unknown there: the operator of Dask is not installed; "
                    "https://kubernetes.dask.org/en/latest/installing.html says how to"
                ) from None
            if status == _NOT_FOUND:
                raise Gone(f"{what}: {error}") from None
            raise ClusterError(f"{what}: the API server answers: {error}") from None
        except Exception as error:
            raise _unreachable(error) from None


def _unreachable(error: Exception) -> ClusterError:
    told = str(error) or f"silence for {_SECONDS:g} s"
    return ClusterError(f"kubernetes: the API server cannot be reached ({told}); do network policies allow it?")
