"""What runs on Kubernetes: it is what its readers take, may do little, and names nothing that is not there."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from checkers import hold_sound, needs
from crontab import command_of
from pages import blocks

from covsvc.engine.clusters.kubernetes_resources import (
    NANNY,
    PAGES,
    PORT,
    WORKER,
    KubernetesCluster,
    dask_autoscaler,
    dask_cluster,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
README = (FOLDER / "README.md").read_text()
FOLDERS = ("base", "run", "standing", "overlays/example")
NAMESPACE = "covsvc"
VERSIONS = ("1.29", "1.37")

GENERATED = {
    "least": dask_cluster("covsvc-1", NAMESPACE, "covsvc", KubernetesCluster()),
    "most": dask_cluster(
        "covsvc-2",
        NAMESPACE,
        "covsvc",
        KubernetesCluster(
            workers={"minimum": 2, "maximum": 64},
            memory="2 GiB",
            cpu=0.5,
            pod={"nodeSelector": {"pool": "spot"}, "imagePullSecrets": [{"name": "registry"}]},
        ),
        {"metadata": {"name": "covsvc-run-x7f2k", "uid": "3f0c1a52-8d3a-4f0e-9c6e-2f5d1c1b7a90"}},
    ),
}


@pytest.fixture(scope="module")
def rendered():
    """Return the resources of each folder, as kubectl makes them."""
    found = {}
    for folder in FOLDERS:
        command = ["kubectl", "kustomize", FOLDER / folder]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        found[folder] = list(yaml.safe_load_all(ended.stdout))
    return found


@pytest.fixture(scope="module")
def all_of_them(rendered):
    """Return all resources, those of a folder once."""
    return [*rendered["base"], *rendered["run"], *rendered["standing"], *GENERATED.values()]


def of_kind(resources, *kinds):
    return [each for each in resources if each["kind"] in kinds]


def templates(resource):
    """Return the pods of a resource, those of a DaskCluster as the operator makes them."""
    spec = resource.get("spec", {})
    if resource["kind"] in ("Deployment", "Job"):
        return [spec["template"]]
    if resource["kind"] == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]]
    if resource["kind"] == "DaskCluster":
        from dask_kubernetes.operator.controller.controller import (
            build_scheduler_deployment_spec,
            build_worker_deployment_spec,
        )

        name, labels = resource["metadata"]["name"], resource["metadata"]["labels"]
        scheduler = build_scheduler_deployment_spec(name, spec["scheduler"]["spec"], {}, labels)
        worker = build_worker_deployment_spec(
            f"{name}-default", NAMESPACE, name, "0123456789", spec["worker"]["spec"], {}, labels
        )
        return [scheduler["spec"]["template"], worker["spec"]["template"]]
    return []


def pods(resources):
    """Return the labels and the specification of all pods."""
    return [(each["metadata"]["labels"], each["spec"]) for resource in resources for each in templates(resource)]


def only(found):
    (one,) = found
    return one


# --- what their readers take -------------------------------------------------------------------------------------------


def schema_of(kind):
    """Return the schema of a resource of the operator, strict: of names that are not known Kubernetes drops the values."""
    crd = files("dask_kubernetes") / f"operator/deployment/helm/dask-kubernetes-operator/crds/{kind.lower()}.yaml"
    version = only(yaml.load(crd.read_text(), yaml.CSafeLoader)["spec"]["versions"])
    schema = version["schema"]["openAPIV3Schema"]
    for name in ("apiVersion", "kind"):
        schema["properties"][name] = {"type": "string"}
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return strict(schema)


def strict(schema):
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if "properties" in made and isinstance(made["properties"], dict):
        made.setdefault("additionalProperties", False)
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
    return made


@pytest.fixture(scope="module")
def validators():
    kinds = "DaskCluster", "DaskAutoscaler"
    return {kind: jsonschema.Draft202012Validator(schema_of(kind)) for kind in kinds}


@needs("kubectl")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_takes_what_is_rendered(rendered, folder, version):
    taken = [each for each in rendered[folder] if not each["kind"].startswith("Dask")]
    for resource in taken:
        kubernetes_validate.validate(resource, version, strict=True)
    assert len(taken) + len(of_kind(rendered[folder], "DaskCluster")) == len(rendered[folder]) > 0


@needs("kubectl")
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_the_pods_of_a_cluster(all_of_them, version):
    found = pods(of_kind(all_of_them, "DaskCluster"))
    for labels, spec in found:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "labels": labels}, "spec": spec}
        kubernetes_validate.validate(pod, version, strict=True)
    assert len(found) == 2 * 3


@needs("kubectl")
def test_the_operator_takes_its_clusters(all_of_them, validators):
    for cluster in of_kind(all_of_them, "DaskCluster"):
        validators["DaskCluster"].validate(cluster)


def test_the_operator_takes_the_autoscaler_and_would_not_take_what_it_does_not_know(validators):
    autoscaler = dask_autoscaler("covsvc-1", NAMESPACE, KubernetesCluster().workers)
    validators["DaskAutoscaler"].validate(autoscaler)
    autoscaler["spec"]["minimal"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minimal"):
        validators["DaskAutoscaler"].validate(autoscaler)


@needs("kubectl")
def test_the_cluster_that_stands_is_one_as_drivers_make_them(rendered):
    told = KubernetesCluster(workers=4, idle_seconds=0)
    assert only(rendered["standing"]) == dask_cluster("covsvc", NAMESPACE, "covsvc", told)


# --- what they may do --------------------------------------------------------------------------------------------------


@needs("kubectl")
def test_no_container_is_root_or_may_become_it_or_writes_where_it_need_not(all_of_them):
    found = pods(all_of_them)
    for _, spec in found:
        held = spec["securityContext"]
        assert (held["runAsNonRoot"], held["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert min(held["runAsUser"], held["runAsGroup"], held["fsGroup"]) > 10000
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        container = only(spec["containers"])
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        limits = container["resources"]["limits"]
        assert limits.keys() == {"cpu", "memory"} == container["resources"]["requests"].keys()
        for volume in spec["volumes"]:
            assert "hostPath" not in volume
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]
        mounted = {each["name"]: each for each in container["volumeMounts"]}
        assert mounted.keys() == {each["name"] for each in spec["volumes"]}
        for volume in spec["volumes"]:
            if "secret" in volume or "configMap" in volume:
                assert mounted[volume["name"]]["readOnly"] is True
                assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440
        assert {"HOME"} <= {each["name"] for each in container["env"]}
    assert len(found) == 4 + 2 * 3


@needs("kubectl")
def test_only_the_driver_of_a_run_has_a_token_and_may_do_only_what_it_needs(rendered, all_of_them):
    with_token = [labels for labels, spec in pods(all_of_them) if spec["automountServiceAccountToken"]]
    assert [labels["app.kubernetes.io/name"] for labels in with_token] == ["covsvc-run"]
    assert only(of_kind(rendered["base"], "ServiceAccount"))["automountServiceAccountToken"] is False
    rules = only(of_kind(rendered["base"], "Role"))["rules"]
    assert {(resource, *sorted(rule["verbs"])) for rule in rules for resource in rule["resources"]} == {
        ("daskclusters", "create", "delete", "get"),
        ("daskautoscalers", "create", "delete"),
        ("pods", "get", "list"),
    }
    assert not of_kind(all_of_them, "ClusterRole", "ClusterRoleBinding", "Secret")


@needs("kubectl")
def test_what_a_person_has_to_mend_is_not_tried_again_and_what_was_moved_or_lost_its_cluster_is(rendered):
    job = only(of_kind(rendered["run"], "Job"))["spec"]
    night = only(of_kind(rendered["base"], "CronJob"))["spec"]
    for spec in (job, night["jobTemplate"]["spec"]):
        assert spec["podFailurePolicy"]["rules"] == [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2, 3]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["backoffLimit"] > 0
    assert night["concurrencyPolicy"] == "Forbid"
    command_of(f"{night['schedule']} nightly")


# --- what they name ----------------------------------------------------------------------------------------------------


@needs("kubectl")
def test_images_are_named_in_one_place(rendered):
    def images(resources):
        return {container["image"] for _, spec in pods(resources) for container in spec["containers"]}

    plain = images([*rendered["base"], *rendered["run"], *rendered["standing"]])
    assert plain == {"covsvc", "covsvc-nightly"}
    told = yaml.safe_load((FOLDER / "overlays/example/kustomization.yaml").read_text())["images"]
    assert {each["name"] for each in told} == plain
    assert images(rendered["overlays/example"]) == {f"{each['newName']}:{each['newTag']}" for each in told}


@needs("kubectl")
@pytest.mark.parametrize("folder", FOLDERS)
def test_all_that_is_named_is_there_or_is_made_as_the_page_says(rendered, folder):
    alone = folder == "base" or folder.startswith("overlays")
    resources = rendered[folder] if alone else [*rendered["base"], *rendered[folder]]
    assert {each["metadata"].get("namespace", NAMESPACE) for each in resources} == {NAMESPACE}
    there = {(each["kind"], each["metadata"]["name"]) for each in resources}
    there |= {("Secret", name) for name in re.findall(r"create secret generic ([\w-]+)", README)}
    there |= {("Secret", f"covsvc-{role}-tls") for role in re.findall("for role in (.*?);", README)[0].split()}
    there |= {("ServiceAccount", "default")}
    for _, spec in pods(resources):
        named = {("ServiceAccount", spec.get("serviceAccountName", "default"))}
        optional = set()
        for each in spec["volumes"]:
            for kind, key, name in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
                if key in each:
                    (optional if each[key].get("optional") else named).add((kind, each[key][name]))
            if "persistentVolumeClaim" in each:
                named.add(("PersistentVolumeClaim", each["persistentVolumeClaim"]["claimName"]))
        for each in only(spec["containers"]).get("envFrom", ()):
            for kind, key in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
                if key in each:
                    named.add((kind, each[key]["name"]))
        assert named <= there, named - there
        assert optional - there <= {("ConfigMap", "covsvc-clusters")}
        ports = {each["name"] for each in only(spec["containers"]).get("ports", ())}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in only(spec["containers"]):
                assert only(spec["containers"])[probe]["httpGet"]["port"] in ports
    for service in of_kind(resources, "Service"):
        found = [spec for labels, spec in pods(resources) if service["spec"]["selector"].items() <= labels.items()]
        (named,) = only(only(found)["containers"])["ports"]
        assert [each["targetPort"] for each in service["spec"]["ports"]] == [named["name"]]
    for binding in of_kind(resources, "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in there
        assert {(each["kind"], each["name"]) for each in binding["subjects"]} <= there


def line_of(told):
    (line,) = [block.strip() for block in blocks("sh", README) if told in block]
    assert "\n" not in line
    return line


@needs("kubectl")
def test_the_example_puts_cubes_into_an_object_store_and_needs_no_claim_for_it(rendered):
    settings = only(
        each
        for each in of_kind(rendered["overlays/example"], "ConfigMap")
        if each["metadata"]["name"] == "covsvc-settings"
    )
    assert settings["data"]["COVSVC_STORE"].startswith("s3://")
    for labels, spec in pods(of_kind(rendered["overlays/example"], "Deployment", "Job")):
        assert not [each for each in spec["volumes"] if "persistentVolumeClaim" in each], labels
        assert "COVSVC_STORE" not in {each["name"] for each in only(spec["containers"])["env"]}  # would be before it


# --- who talks with whom -----------------------------------------------------------------------------------------------


def matches(selector, labels):
    assert selector.keys() <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def allowed(policies, one, other, port, direction):
    """Tell whether policies let a pod talk to, or be talked to by, another one at a port; no policy allows all."""
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    held = [
        each["spec"]
        for each in policies
        if matches(each["spec"]["podSelector"], one) and direction in each["spec"]["policyTypes"]
    ]
    return not held or any(
        port in [each["port"] for each in rule["ports"]]
        and any("podSelector" in peer and matches(peer["podSelector"], other) for peer in rule[peers])
        for spec in held
        for rule in spec.get(side, ())
    )


@needs("kubectl")
def test_pods_reach_each_other_where_they_have_to_and_nowhere_else(rendered, all_of_them):
    policies = of_kind(rendered["base"], "NetworkPolicy")
    by_name = {}
    for labels, _ in pods(all_of_them):
        name = labels["app.kubernetes.io/name"]
        by_name[labels["dask.org/component"] if name == "covsvc-dask" else name.removeprefix("covsvc-")] = labels
    assert by_name.keys() == {"scheduler", "worker", "run", "nightly", "serve", "dashboard"}
    ports = [PORT, PAGES, WORKER, NANNY, 8999, 5006, "http", 443]
    reached = {
        (one, other, port)
        for one in by_name
        for other in by_name
        for port in ports
        if allowed(policies, by_name[one], by_name[other], port, "Egress")
        and allowed(policies, by_name[other], by_name[one], port, "Ingress")
    }
    assert reached == {
        ("run", "scheduler", PORT),
        ("nightly", "scheduler", PORT),
        ("worker", "scheduler", PORT),
        ("scheduler", "worker", WORKER),
        ("scheduler", "worker", NANNY),
        ("worker", "worker", WORKER),
    }


@needs("kubectl")
def test_only_drivers_service_and_dashboard_reach_what_is_outside_and_never_the_rights_of_a_node(rendered):
    outside = {}
    for policy in of_kind(rendered["base"], "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            for peer in rule["to"]:
                if "ipBlock" in peer:
                    assert peer["ipBlock"]["except"] == ["169.254.0.0/16"]
                    outside[policy["metadata"]["name"]] = [each["port"] for each in rule["ports"]]
                elif "namespaceSelector" in peer:
                    assert [each["port"] for each in rule["ports"]] == [53, 53]
    assert outside == {"covsvc-driver": [443, 6443], "covsvc-serve": [443], "covsvc-dashboard": [443]}


@needs("kubectl")
def test_from_outside_only_the_ingress_and_the_operator_come_in(rendered):
    inside = {}
    for policy in of_kind(rendered["base"], "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", ()):
            for peer in rule["from"]:
                if "podSelector" not in peer:
                    (name,) = peer["namespaceSelector"]["matchLabels"].values()
                    inside[policy["metadata"]["name"]] = (name, [each["port"] for each in rule["ports"]])
    assert inside == {
        "covsvc-dask-scheduler": ("dask-operator", [PAGES]),
        "covsvc-serve": ("ingress-nginx", ["http"]),
        "covsvc-dashboard": ("ingress-nginx", ["http"]),
    }
    assert {name for name, _ in inside.values()} <= set(re.findall(r"`([\w-]+)`", README))


# --- what they run -----------------------------------------------------------------------------------------------------


@needs("kubectl")
@pytest.mark.parametrize("verb", ["serve", "dashboard"])
def test_pods_that_answer_run_a_command_of_ours_with_tokens_that_can_change(rendered, verb):
    from covsvc.cli import cli
    from covsvc.service.gate import OPEN
    from covsvc.service.serving import PATIENCE

    deployment = only(
        each for each in of_kind(rendered["base"], "Deployment") if each["metadata"]["name"].endswith(verb)
    )
    ((labels, spec),) = pods([deployment])
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    container = only(spec["containers"])
    assert container["command"][:2] == ["covsvc", verb]
    told = cli.commands[verb].make_context(verb, container["command"][2:]).params
    assert told["host"] == "0.0.0.0"
    assert only(container["ports"])["containerPort"] == told["port"]
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert str(told["tokens"].parent) == mounts["tokens"]["mountPath"]
    assert "subPath" not in mounts["tokens"]  # which never changes
    assert f"generic covsvc-tokens --namespace covsvc --from-file={told['tokens'].name} " in line_of("token add")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in OPEN
    assert spec["terminationGracePeriodSeconds"] > PATIENCE
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert writable == {"/tmp", environment["XDG_CACHE_HOME"]}


@needs("kubectl")
def test_the_driver_runs_a_study_that_is_one_with_the_certificates_that_the_page_makes(rendered):
    from covsvc.api import load_studies
    from covsvc.cli import cli

    ((_, spec),) = pods(of_kind(rendered["run"], "Job"))
    container = only(spec["containers"])
    assert container["command"][:2] == ["covsvc", "run"]
    told = cli.commands["run"].make_context("run", container["command"][2:]).params
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert Path(told["file"]).parent == Path(mounts["study"])
    assert told["cluster"] == "kubernetes"
    load_studies(FOLDER / "run" / Path(told["file"]).name)
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["COVSVC_TLS"] == mounts["tls"]
    assert environment["COVSVC_CLUSTERS"] == mounts["clusters"]


@pytest.mark.parametrize("file", ["clusters/kubernetes.yaml", "kubernetes/overlays/example/kubernetes.yaml"])
def test_the_files_of_options_are_taken(file):
    from covsvc.engine.clusters.choosing import choose
    from covsvc.engine.clusters.options import read_options

    choice = choose(str(ROOT / "deploy" / file))
    assert choice.name == "kubernetes"
    told = read_options(KubernetesCluster, file, choice.options)
    if "clusters" in file:
        assert told == KubernetesCluster()  # as its first lines say


def test_examples_in_the_file_of_options_are_taken_too():
    from covsvc.engine.clusters.options import read_options

    text = (ROOT / "deploy/clusters/kubernetes.yaml").read_text()
    commented = yaml.safe_load("\n".join(re.findall(r"^# ((?:  )*[a-zA-Z]+:.*)$", text, re.M)))
    assert commented.keys() == {"namespace", "image", "pod", "existing"}
    told = read_options(KubernetesCluster, "kubernetes.yaml", commented)
    assert told.pod.keys() == {"nodeSelector", "tolerations", "imagePullSecrets"}
    assert {*commented, *yaml.safe_load(text)} - {"name"} == KubernetesCluster.model_fields.keys()


@needs("shellcheck")
def test_every_line_of_the_page_is_sound():
    for line in blocks("sh", README):
        assert "\n" not in line.strip()
        hold_sound(line.strip())
