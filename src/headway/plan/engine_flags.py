"""Command lines of engines: written for a deployment, and read back into one.

Flags are those of vLLM 0.11 to 0.32 and of SGLang 0.5.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.ffn import MoeFfn
from headway.model.precision import Precision
from headway.plan.names import hub_name
from headway.steptime.acceptance import OWN_HEADS, speculation_by
from headway.steptime.deployment import Deployment, EngineLimits
from headway.steptime.placed_model import Drafting

PORT = 8000
FP8 = "fp8"
STAGES = ("prefill", "decode")
DRAFT = "--speculative-config"  # of vLLM
SGLANG_DRAFTED = "--speculative-num-steps"


@dataclass(frozen=True, slots=True)
class Flags:
    """What one engine calls its options; the first spelling is the one that is written.

    Attributes:
        start: the words before the options.
        model: where the model is an option; empty where it follows ``start``.
        tp, pp, dp, ep: degrees; where ``ep`` is a switch, experts are dealt out over all ranks.
        cache: the KV cache's format, and ``fp8_cache`` its value for 8 bits.

    """

    start: tuple[str, ...]
    model: tuple[str, ...]
    tp: tuple[str, ...]
    pp: tuple[str, ...]
    dp: tuple[str, ...]
    ep: tuple[str, ...]
    ep_switch: bool
    max_num_seqs: tuple[str, ...]
    max_num_batched_tokens: tuple[str, ...]
    poll_steps: tuple[str, ...]
    quantization: tuple[str, ...]
    cache: tuple[str, ...]
    fp8_cache: str


FLAGS = {
    "vllm": Flags(
        start=("vllm", "serve"),
        model=("--model",),
        tp=("--tensor-parallel-size", "-tp"),
        pp=("--pipeline-parallel-size", "-pp"),
        dp=("--data-parallel-size", "-dp"),
        ep=("--enable-expert-parallel", "-ep"),
        ep_switch=True,
        max_num_seqs=("--max-num-seqs",),
        max_num_batched_tokens=("--max-num-batched-tokens",),
        poll_steps=(),
        quantization=("--quantization", "-q"),
        cache=("--kv-cache-dtype",),
        fp8_cache="fp8",
    ),
    "sglang": Flags(
        start=("python", "-m", "sglang.launch_server"),
        model=("--model-path", "--model"),
        tp=("--tp-size", "--tp", "--tensor-parallel-size"),
        pp=("--pp-size", "--pipeline-parallel-size"),
        dp=("--dp-size", "--dp", "--data-parallel-size"),
        ep=("--ep-size", "--ep", "--expert-parallel-size"),
        ep_switch=False,
        max_num_seqs=("--max-running-requests",),
        max_num_batched_tokens=("--chunked-prefill-size",),
        poll_steps=("--scheduler-recv-interval",),
        quantization=("--quantization",),
        cache=("--kv-cache-dtype",),
        fp8_cache="fp8_e5m2",
    ),
}


def engine_arguments(deployment: Deployment) -> list[str]:
    """Return the command line that starts the engine of ``deployment``.

    Raises:
        InputError: it is not known how the engine is started.

    """
    flags = FLAGS.get(str(deployment.engine))
    if flags is None:
        raise InputError(
            f"the start of {deployment.engine or 'an engine'} is not known; plan with --engine "
            "vllm or sglang"
        )
    layout, limits = deployment.parallelism, deployment.limits
    tp, pp, dp, ep = (int(d) for d in (layout.tp, layout.pp, layout.dp, layout.ep))
    name = hub_name(deployment.model.name)
    is_sglang = deployment.engine == "sglang"

    # SGLang deals its tensor ranks out to the groups with attention of their own.
    words = [*flags.start, *((flags.model[0],) if is_sglang else ()), name, "--port", str(PORT)]
    words += [flags.tp[0], str(tp * dp if is_sglang else tp)]
    words += [flags.pp[0], str(pp)] if pp > 1 else []
    words += [flags.dp[0], str(dp)] if dp > 1 else []
    words += ["--enable-dp-attention"] if is_sglang and dp > 1 else []
    if ep > 1:
        words += [flags.ep[0]] if flags.ep_switch else [flags.ep[0], str(ep)]
    groups = dp if is_sglang else 1
    words += [flags.max_num_seqs[0], str(limits.max_num_seqs * groups)]
    words += [flags.max_num_batched_tokens[0], str(limits.max_num_batched_tokens)]
    if flags.poll_steps and limits.poll_steps > 1:
        words += [flags.poll_steps[0], str(limits.poll_steps)]

    # A checkpoint that is not in 8 bits is quantized as it is loaded.
    stored = deployment.model.precision
    weights = deployment.precision.weights.value
    is_quantized = weights == FP8 and stored is not None and stored.weights.value != FP8
    words += [flags.quantization[0], FP8] if is_quantized else []
    if deployment.precision.kv_cache.value == FP8:
        words += [flags.cache[0], flags.fp8_cache]
    return words + _drafting_words(deployment)


def stage_arguments(engine: str, stage: str) -> list[str]:
    """Return the options of an engine that does one of `STAGES` and hands the cache on by NIXL."""
    if engine == "sglang":
        return ["--disaggregation-mode", stage, "--disaggregation-transfer-backend", "nixl"]
    transfer = {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_both",
    }  # the router tells them apart
    return ["--kv-transfer-config", json.dumps(transfer)]


def _drafting_words(deployment: Deployment) -> list[str]:
    """Return the options with which an engine drafts by the model's own heads."""
    if deployment.drafting is None:
        return []
    tokens = int(deployment.drafting.tokens)
    if deployment.engine == "vllm":
        return [DRAFT, json.dumps({"method": "mtp", "num_speculative_tokens": tokens})]
    return [
        "--speculative-algorithm",
        "EAGLE",
        SGLANG_DRAFTED,
        str(tokens),
        "--speculative-eagle-topk",
        "1",
        "--speculative-num-draft-tokens",
        str(tokens + 1),
    ]


def _drafting(options: dict[str, str], model: ModelArchitecture) -> Drafting | None:
    """Return how a command line drafts; its own draft model counts as the model's heads."""
    tokens = options.get(SGLANG_DRAFTED)
    if DRAFT in options:
        try:
            tokens = json.loads(options[DRAFT]).get("num_speculative_tokens")
        except (ValueError, AttributeError):
            raise InputError(f"{DRAFT} takes a JSON object, not {options[DRAFT][:40]!r}") from None
    if tokens is None or not model.mtp_layers:
        return None
    return Drafting(speculation_by(OWN_HEADS, model), tokens=int(tokens))


@dataclass(frozen=True, slots=True, eq=False)
class Started:
    """What a command line starts.

    Attributes:
        deployment: one replica.
        replicas: of it: groups of a dense model are engines of their own.
        unread: options that the step times do not depend on, or that are not known here.

    """

    deployment: Deployment
    replicas: int
    unread: tuple[str, ...]


def read_arguments(text: str, cluster: Cluster) -> Started:
    """Return what the command line ``text`` starts on ``cluster``.

    Args:
        text: ``vllm serve ...`` or ``python -m sglang.launch_server ...``, perhaps over several
            lines that end with a backslash; variables before it and comments may stand there.
        cluster: the accelerators.

    Raises:
        InputError: it starts neither engine, names no model, or an option has no number.

    """
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise InputError(f"the command line cannot be read: {error}") from None
    engine = "vllm" if "vllm" in text else "sglang" if "sglang" in text else None
    if engine is None:
        raise InputError(
            "the command line should start vllm (vllm serve MODEL ...) or SGLang (python -m "
            "sglang.launch_server --model-path MODEL ...)"
        )
    options, switches = _options(words)
    flags = FLAGS[engine]

    def number(names: tuple[str, ...], default: int) -> int:
        value = _first(options, names)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise InputError(f"{names[0]} takes a whole number, not {value!r}") from None

    name = _first(options, flags.model) or _after(words, flags.start[-1])
    if name is None:
        raise InputError("the command line names no model")
    model = find_model(name)

    # The layout: groups of a model with experts share these, others are replicas.
    tp, pp, dp = number(flags.tp, 1), number(flags.pp, 1), number(flags.dp, 1)
    has_experts = any(isinstance(layer.ffn, MoeFfn) for layer in model.layers)
    if engine == "sglang" and "--enable-dp-attention" in switches:
        tp //= max(dp, 1)
    replicas, dp = (1, dp) if has_experts else (dp, 1)
    ep = number(flags.ep, 1)
    if flags.ep_switch:
        ep = tp * dp if any(spelling in switches for spelling in flags.ep) else 1

    # Limits and formats.
    usual = EngineLimits()
    groups = dp if engine == "sglang" else 1
    limits = EngineLimits(
        max(number(flags.max_num_seqs, usual.max_num_seqs * groups) // groups, 1),
        number(flags.max_num_batched_tokens, usual.max_num_batched_tokens),
        poll_steps=max(number(flags.poll_steps, usual.poll_steps), 1),
    )
    weights = _first(options, flags.quantization)
    cache = _first(options, flags.cache) or ""
    precision = find_precision(name) or model.precision
    if weights == FP8 or cache.startswith(FP8):
        stored = precision or Precision.parse("bf16")
        parts = [FP8, FP8] if weights == FP8 else [stored.weights.value, stored.activations.value]
        parts.append(FP8 if cache.startswith(FP8) else stored.kv_cache.value)
        precision = Precision.parse("/".join(parts))

    known = {spelling for field in Flags.__slots__ for spelling in _spellings(flags, field)}
    known |= {"--port", "--host", "--enable-dp-attention"}
    if model.mtp_layers:
        known |= {DRAFT, *(name for name in options if name.startswith("--speculative-"))}
    return Started(
        deployment=Deployment(
            model,
            cluster,
            tp=tp,
            pp=pp,
            dp=dp,
            ep=ep,
            precision=precision,
            engine=engine,
            limits=limits,
            drafting=_drafting(options, model),
        ),
        replicas=replicas,
        unread=tuple(sorted({*options, *switches} - known)),
    )


def _options(words: list[str]) -> tuple[dict[str, str], set[str]]:
    """Return options with a value, and switches without one."""
    options: dict[str, str] = {}
    switches: set[str] = set()
    for place, word in enumerate(words):
        if not word.startswith("-") or word == "-m":
            continue
        name, equals, value = word.partition("=")
        following = words[place + 1] if place + 1 < len(words) else "-"
        if equals:
            options[name] = value
        elif following.startswith("-"):
            switches.add(name)
        else:
            options[name] = following
    return options, switches


def _first(options: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((options[name] for name in names if name in options), None)


def _after(words: list[str], start: str) -> str | None:
    """Return the word that follows ``start``, unless it is an option."""
    place = words.index(start) + 1 if start in words else len(words)
    return words[place] if place < len(words) and not words[place].startswith("-") else None


def _spellings(flags: Flags, field: str) -> tuple[str, ...]:
    value = getattr(flags, field)
    return value if isinstance(value, tuple) else ()
