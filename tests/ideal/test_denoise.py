"""Denoising and attribution on endpoints of known truth."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.http.openai import Usage
from headway.ideal.attribute import Attribution, attribute
from headway.ideal.denoise import Denoised, denoise
from headway.ideal.prompt_curve import PromptCurve
from headway.ideal.request_profile import RequestProfile
from headway.ideal.runtime_fit import RuntimeFit, fit_runtime
from headway.measure.endpoint.probe import Probe

TOKEN_S = 0.01
CURVE = PromptCurve(1.06 * TOKEN_S, 4e-5, 30.0, 6.0)
SIZES = (16, 64, 256, 1024)


def core_s(prompt: float, output: float) -> float:
    return float(CURVE.at(np.asarray(prompt))) + TOKEN_S * (output - 1)


def probes_of(
    trials: int = 8,
    outputs: int = 32,
    network_s: float = 0.0,
    queue_s: float = 0.0,
    busy: float = 0.0,
    busy_s: float = 0.0,
    slower: Callable[[float], float] = lambda at: 1.0,
    jitter: float = 0.002,
    seed: int = 0,
    **usage: int,
) -> list[Probe]:
    """A campaign of 60 s between probes; ``slower`` is by time, ``busy`` a share of requests."""
    source = random.Random(seed)
    probes: list[Probe] = []
    cached, reasoning = usage.get("cached_tokens"), usage.get("reasoning_tokens")
    for number in range(trials):
        for size in SIZES:
            at = 60.0 * len(probes)
            factor = slower(at)
            hidden = reasoning or 0
            fresh = size - (cached or 0)
            seconds = network_s + queue_s + factor * float(CURVE.at(np.asarray(float(fresh))))
            seconds *= 1 + source.expovariate(1 / jitter)
            if source.random() < busy:
                seconds += source.expovariate(1 / busy_s)
            seconds += factor * TOKEN_S * hidden
            chunks = [seconds]
            for _ in range(outputs - hidden - 1):
                gap = factor * TOKEN_S * (1 + source.expovariate(1 / jitter))
                chunks.append(chunks[-1] + gap)
            probes.append(
                Probe(
                    f"{number}/{size}/0", size, outputs, at, ttft_s=chunks[0], shown_s=chunks[0],
                    chunks_s=tuple(chunks), e2e_s=chunks[-1], finish="length",
                    usage=Usage(size, outputs, cached, reasoning),
                )
            )  # fmt: skip
    return probes


def steadily(factor: float) -> Callable[[float], float]:
    return lambda at: factor


def itself() -> RuntimeFit:
    grid = [(p, o) for p in (1, 16, 64, 256, 1024, 2048) for o in (1, 32)]
    points = [(p, o, core_s(p, o)) for p, o in grid]
    return fit_runtime(RequestProfile.of(points), None)


def parts(attribution: Attribution) -> float:
    network = attribution.network_s.expected if attribution.network_s else 0.0
    software = attribution.idealized_s.expected * attribution.software_factor.expected
    others = (attribution.contention_s, attribution.drift_s, attribution.queue_s)
    return software + sum(part.expected for part in others) + network


def check_core(denoised: Denoised, rel: float = 0.05) -> None:
    for prompt, output in ((16, 32), (500, 8), (1024, 64)):
        predicted_s = float(denoised.runtime.predict(prompt, output))
        assert predicted_s == pytest.approx(core_s(prompt, output), rel=rel)


def test_an_undisturbed_endpoint_is_what_it_is() -> None:
    denoised = denoise(probes_of(), [1e-4] * 5)
    check_core(denoised)
    attribution = attribute(denoised, itself())
    assert attribution.software_factor.holds(1.0)
    assert attribution.software_factor.expected == pytest.approx(1.0, abs=0.05)
    assert abs(attribution.contention_s.expected) < 0.02 * attribution.raw_s.expected
    assert attribution.drift_s.expected == 0.0


@pytest.mark.parametrize("network_s", [0.02, 0.2])
@pytest.mark.parametrize("queue_s", [0.0, 0.03])
def test_network_and_queue_are_told_apart_from_the_model(network_s: float, queue_s: float) -> None:
    pings = [network_s * factor for factor in (1.001, 1.01, 1.004, 1.02, 1.003)]
    denoised = denoise(probes_of(network_s=network_s, queue_s=queue_s), pings)
    assert denoised.network_s is not None
    assert denoised.network_s.expected == pytest.approx(network_s, rel=0.02)
    assert denoised.queue_s.expected == pytest.approx(queue_s, abs=0.006)
    assert denoised.queue_s.upper >= queue_s
    check_core(denoised, 0.08)


@pytest.mark.parametrize("factor", [0.4, 1.7])
def test_a_slower_or_faster_server_is_the_software_factor(factor: float) -> None:
    denoised = denoise(probes_of(slower=lambda at: factor), [1e-4] * 5)
    attribution = attribute(denoised, itself())
    assert attribution.software_factor.holds(factor)
    assert attribution.software_factor.expected == pytest.approx(factor, rel=0.05)
    assert ("faster" if factor < 1 else "slower") in attribution.sentence
    assert f"{max(factor, 1 / factor):.1f}" in attribution.sentence


def test_a_noisy_neighbour_is_contention() -> None:
    denoised = denoise(probes_of(trials=30, busy=0.3, busy_s=0.2), [1e-4] * 5)
    check_core(denoised)
    attribution = attribute(denoised, itself())
    assert attribution.contention_s.holds(0.06)
    assert attribution.contention_s.expected == pytest.approx(0.06, rel=0.4)


def test_a_slow_afternoon_is_drift_and_not_contention() -> None:
    afternoon = 60.0 * 32 / 2
    denoised = denoise(probes_of(slower=lambda at: 1.5 if at >= afternoon else 1.0), [1e-4] * 5)
    factors = [stretch.factor for stretch in denoised.drift]
    assert len(factors) == 4
    assert [factor.expected for factor in factors] == pytest.approx([1, 1, 1.5, 1.5], abs=0.05)
    attribution = attribute(denoised, itself())
    assert attribution.software_factor.expected == pytest.approx(1.0, abs=0.08)
    assert attribution.drift_s.expected == pytest.approx(
        0.25 * attribution.idealized_s.expected, rel=0.2
    )
    assert abs(attribution.contention_s.expected) < 0.1 * attribution.raw_s.expected


@given(st.floats(0, 0.1), st.floats(0, 0.1), st.floats(0, 1), st.floats(0.3, 3), st.integers(0, 99))
@settings(max_examples=8)
def test_the_parts_add_up(
    network: float, queue: float, busy: float, factor: float, seed: int
) -> None:
    probes = probes_of(
        4, network_s=network, queue_s=queue, busy=busy, busy_s=0.05, slower=lambda at: factor,
        jitter=0.01, seed=seed,
    )  # fmt: skip
    attribution = attribute(denoise(probes, [network + 1e-4] * 3), itself())
    assert parts(attribution) == pytest.approx(attribution.raw_s.expected, rel=1e-9)


@pytest.mark.slow
def test_nine_intervals_in_ten_hold_the_truth() -> None:
    source, alone = random.Random(1), itself()
    hits: dict[str, int] = {"software": 0, "contention": 0, "network": 0, "queue": 0}
    for seed in range(100):
        network_s, queue_s = source.choice([0.0, 0.02, 0.1]), source.choice([0.0, 0.02])
        factor = source.choice([0.5, 1.0, 1.6])
        busy, busy_s = source.choice([0.0, 0.15, 0.3]), source.choice([0.05, 0.15])
        trials, jitter = source.choice([6, 12, 20]), source.choice([0.003, 0.01, 0.03])
        probes = probes_of(
            trials, 24, network_s, queue_s, busy, busy_s, steadily(factor), jitter, seed
        )
        pings = [network_s * (1 + source.expovariate(50)) + 1e-4 for _ in range(3 * trials)]
        attribution = attribute(denoise(probes, pings), alone)
        first_s = [factor * core_s(size, 1) for size in SIZES]
        mean_first_s, tokens_s = sum(first_s) / len(SIZES), factor * 23 * TOKEN_S
        # The spread of steps is the engine's own; what comes on top of the first token is not.
        true_factor = factor * (1 + jitter * tokens_s / (mean_first_s + tokens_s))
        true_s = busy * busy_s + jitter * (mean_first_s + network_s + queue_s)
        assert attribution.network_s is not None
        for name, part, truth, slack in (
            ("software", attribution.software_factor, true_factor, 0.0),
            ("contention", attribution.contention_s, true_s, 1.5e-3),
            ("network", attribution.network_s, network_s + 1e-4, 5e-4),
            ("queue", attribution.queue_s, queue_s, 5e-4),
        ):
            hits[name] += part.lower - slack <= truth <= part.upper + slack
    assert min(hits.values()) >= 88, hits


def test_hidden_reasoning_and_cached_prompts_do_not_mislead() -> None:
    denoised = denoise(probes_of(reasoning_tokens=12), [1e-4] * 5)
    check_core(denoised)
    assert any("reasoning" in note for note in denoised.notes)
    denoised = denoise(probes_of(cached_tokens=10), [1e-4] * 5)
    check_core(denoised)
    assert any("cached" in note for note in denoised.notes)


def test_failures_are_counted_and_too_little_is_refused() -> None:
    failed = Probe("0/16/1", 16, 8, 0.0, failure="timeout")
    denoised = denoise([*probes_of(), failed])
    assert any("1 of 33 requests failed (timeout)" in note for note in denoised.notes)
    assert denoised.network_s is None
    assert any("queue includes the network" in note for note in denoised.notes)
    with pytest.raises(InputError, match="two sizes"):
        denoise([failed])
    with pytest.raises(InputError, match="two sizes"):
        denoise([probe for probe in probes_of() if "/16/" in probe.id])
