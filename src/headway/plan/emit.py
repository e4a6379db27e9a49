"""A plan as files: an engine's command line, manifests for Kubernetes, and a dashboard.

Manifests are JSON, which ``kubectl apply -f`` takes like YAML.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from headway.errors import InputError, UnknownNameError
from headway.plan.candidate import Candidate
from headway.plan.dashboard import dashboard
from headway.plan.engine_flags import PORT, STAGES, engine_arguments, stage_arguments
from headway.plan.names import hub_name
from headway.workload.objective import Objective

TARGETS = ("vllm", "sglang", "kubernetes", "kserve", "llm-d", "grafana")
WITH_PRICE = ("llm-d", "grafana")  # that show what a replica costs
IMAGES = {"vllm": "vllm/vllm-openai:latest", "sglang": "lmsysorg/sglang:latest"}
GPU_RESOURCE = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "google": "google.com/tpu"}


def emit(
    target: str, candidate: Candidate, replicas: int, objectives: Sequence[Objective]
) -> Mapping[str, str]:
    """Return the contents of files by name.

    Args:
        target: one of `TARGETS`.
        candidate: one replica.
        replicas: how many of it.
        objectives: that a dashboard shows.

    Raises:
        InputError: an unknown target, or one that does not start this engine.

    """
    if target not in TARGETS:
        raise UnknownNameError("target of --emit", target, TARGETS)
    engine = candidate.deployment.engine
    if target in IMAGES and engine != target:
        raise InputError(f"the plan runs {engine}: emit that, kubernetes or kserve, not {target}")

    # What needs no manifest: a dashboard, and scripts.
    if target == "grafana":
        title = f"{candidate.deployment.model.name} on {candidate.deployment.cluster.name}"
        board = dashboard(str(engine), title, objectives, candidate.usd_per_hour)
        return {"dashboard.json": _json(board)}
    arguments = engine_arguments(candidate.deployment)
    if candidate.cell[0]:
        if target not in IMAGES:
            raise InputError(f"prefill apart from decode: emit {engine} or grafana, not {target}")
        return {
            f"start-{target}-{stage}.sh": _script(arguments + stage_arguments(target, stage))
            for stage in STAGES
        }
    if target in IMAGES:
        return {f"start-{target}.sh": _script(arguments)}

    # Manifests.
    if target == "kserve":
        return {"inferenceservice.json": _json(_kserve(candidate, replicas, arguments))}
    files = {
        "deployment.json": _json(_deployment(candidate, replicas, arguments)),
        "service.json": _json(_service(candidate)),
    }
    if target == "llm-d":
        files["variantautoscaling.json"] = _json(_variant(candidate))
    return files


def _script(arguments: list[str]) -> str:
    return f"#!/bin/sh\nexec {shlex.join(arguments)}\n"


def _name(candidate: Candidate) -> str:
    """Return a name that Kubernetes takes: small letters, digits and dashes."""
    letters = candidate.deployment.model.name.lower()
    return "".join(c if c.isalnum() else "-" for c in letters).strip("-")[:50]


def _container(candidate: Candidate, arguments: list[str]) -> dict[str, Any]:
    deployment = candidate.deployment
    resource = GPU_RESOURCE.get(deployment.cluster.accelerator.vendor, "nvidia.com/gpu")
    gpus = {resource: str(candidate.num_accelerators)}
    return {
        "name": "engine",
        "image": IMAGES[str(deployment.engine)],
        "command": arguments,
        "ports": [{"containerPort": PORT}],
        "resources": {"limits": gpus, "requests": gpus},
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 10},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }


def _pod(candidate: Candidate, arguments: list[str]) -> dict[str, Any]:
    return {
        "containers": [_container(candidate, arguments)],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }


def _deployment(candidate: Candidate, replicas: int, arguments: list[str]) -> dict[str, Any]:
    labels = {"app": _name(candidate)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _name(candidate), "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(candidate, arguments)},
        },
    }


def _service(candidate: Candidate) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _name(candidate)},
        "spec": {
            "selector": {"app": _name(candidate)},
            "ports": [{"port": PORT, "targetPort": PORT}],
        },
    }


def _kserve(candidate: Candidate, replicas: int, arguments: list[str]) -> dict[str, Any]:
    """Return an InferenceService with the engine as a container of its own."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": _name(candidate)},
        "spec": {
            "predictor": {
                "minReplicas": replicas,
                "maxReplicas": replicas,
                **_pod(candidate, arguments),
            }
        },
    }


def _variant(candidate: Candidate) -> dict[str, Any]:
    """Return what llm-d's workload variant autoscaler scales, with the price of a replica."""
    deployment = candidate.deployment
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": _name(candidate)}
    return {
        "apiVersion": "llmd.ai/v1alpha1",
        "kind": "VariantAutoscaling",
        "metadata": {
            "name": _name(candidate),
            "labels": {"inference.optimization/acceleratorName": deployment.cluster.name},
        },
        "spec": {
            "scaleTargetRef": target,
            "modelID": hub_name(deployment.model.name),
            "variantCost": f"{candidate.usd_per_hour:.2f}",
        },
    }


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"
