"""A plan as files that start it: an engine's command line, and manifests for Kubernetes.

Manifests are JSON, which ``kubectl apply -f`` takes like YAML.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from headway.errors import InputError, UnknownNameError
from headway.plan.bounds import Candidate
from headway.plan.names import hub_name
from headway.steptime.deployment import Deployment

TARGETS = ("vllm", "sglang", "kubernetes", "kserve")
PORT = 8000
IMAGES = {"vllm": "vllm/vllm-openai:latest", "sglang": "lmsysorg/sglang:latest"}
GPU_RESOURCE = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "google": "google.com/tpu"}


def emit(target: str, candidate: Candidate, replicas: int) -> Mapping[str, str]:
    """Return the contents of files by name.

    Args:
        target: one of `TARGETS`.
        candidate: one replica.
        replicas: how many of it.

    Raises:
        InputError: an unknown target, or one that does not start this engine.

    """
    if target not in TARGETS:
        raise UnknownNameError("target of --emit", target, TARGETS)
    engine = candidate.deployment.engine
    if target in IMAGES and engine != target:
        raise InputError(f"the plan runs {engine}: emit that, kubernetes or kserve, not {target}")
    if engine not in IMAGES:
        raise InputError(
            f"the start of {engine or 'an engine'} is not known; plan with --engine vllm or sglang"
        )

    arguments = engine_arguments(candidate.deployment)
    if target in IMAGES:
        return {f"start-{target}.sh": "#!/bin/sh\nexec " + shlex.join(arguments) + "\n"}
    if target == "kserve":
        return {"inferenceservice.json": _json(_kserve(candidate, replicas, arguments))}
    return {
        "deployment.json": _json(_deployment(candidate, replicas, arguments)),
        "service.json": _json(_service(candidate)),
    }


def engine_arguments(deployment: Deployment) -> list[str]:
    """Return the command line of the engine of ``deployment``.

    Flags are those of vLLM 0.11 and of SGLang 0.5.
    """
    layout, limits = deployment.parallelism, deployment.limits
    model = hub_name(deployment.model.name)
    tp, pp, dp, ep = (int(d) for d in (layout.tp, layout.pp, layout.dp, layout.ep))
    weights = deployment.precision.weights.value
    stored = deployment.model.precision
    quantize = weights == "fp8" and stored is not None and stored.weights.value != "fp8"
    fp8_cache = deployment.precision.kv_cache.value == "fp8"

    if deployment.engine == "vllm":
        words = ["vllm", "serve", model, "--port", str(PORT)]
        words += ["--tensor-parallel-size", str(tp)]
        words += ["--pipeline-parallel-size", str(pp)] if pp > 1 else []
        words += ["--data-parallel-size", str(dp)] if dp > 1 else []
        words += ["--enable-expert-parallel"] if ep > 1 else []
        words += ["--max-num-seqs", str(limits.max_num_seqs)]
        words += ["--max-num-batched-tokens", str(limits.max_num_batched_tokens)]
        words += ["--quantization", "fp8"] if quantize else []
        return words + (["--kv-cache-dtype", "fp8"] if fp8_cache else [])

    words = ["python", "-m", "sglang.launch_server", "--model-path", model, "--port", str(PORT)]
    words += ["--tp-size", str(tp * dp)]
    words += ["--pp-size", str(pp)] if pp > 1 else []
    words += ["--dp-size", str(dp), "--enable-dp-attention"] if dp > 1 else []
    words += ["--ep-size", str(ep)] if ep > 1 else []
    words += ["--max-running-requests", str(limits.max_num_seqs * dp)]
    words += ["--chunked-prefill-size", str(limits.max_num_batched_tokens)]
    words += ["--quantization", "fp8"] if quantize else []
    return words + (["--kv-cache-dtype", "fp8_e5m2"] if fp8_cache else [])


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
    """Return an InferenceService; its annotation is the cost that llm-d's autoscaler reads."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": _name(candidate),
            "annotations": {"llm-d.ai/variantCost": f"{candidate.usd_per_hour:.2f}"},
        },
        "spec": {
            "predictor": {
                "minReplicas": replicas,
                "maxReplicas": replicas,
                **_pod(candidate, arguments),
            }
        },
    }


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"
