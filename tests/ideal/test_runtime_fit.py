"""The default estimator: its laws, exactness on its own kind of data, and its accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.ideal.adaptive import Target, first_requests, half_width, next_request
from headway.ideal.estimator import fit_requests, tiles_and_priors
from headway.ideal.prompt_curve import PromptCurve, Tiles
from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.ideal.runtime_fit import fit_runtime
from headway.ideal.runtime_form import Priors, cached_reads
from headway.measure.measurement import Clock, Measurement, RequestLoad, Setup

Profiles = dict[str, RequestProfile]
FOUR = [(1, 64), (256, 1), (768, 1), (1920, 1)]


def profile_of(
    curve: PromptCurve, beta_s: float, growth: float, at: list[tuple[int, int]]
) -> RequestProfile:
    prompts, outputs = np.asarray(at, dtype=np.float64).T
    steps = outputs - 1 + growth * cached_reads(prompts, outputs - 1)
    return RequestProfile(prompts, outputs, curve.at(prompts) + beta_s * steps)


curves = st.builds(
    PromptCurve,
    floor_s=st.floats(0.005, 0.5),
    slope_s_per_token=st.floats(1e-6, 1e-3),
    lead_tokens=st.floats(-50, 100),
    sharpness=st.floats(1.5, 20),
    tiles=st.sampled_from([None, Tiles(), Tiles(64, 0.9, 4)]),
)
lengths = st.lists(
    st.tuples(st.integers(1, 4000), st.integers(1, 128)), min_size=1, max_size=8
).map(lambda points: [(1, 32), *points])


@given(curves, lengths, st.floats(0, 1e-4))
@settings(max_examples=15)
def test_more_tokens_never_take_less_time(
    curve: PromptCurve, at: list[tuple[int, int]], growth: float
) -> None:
    fit = fit_runtime(profile_of(curve, curve.floor_s * 0.95, growth, at), curve.tiles)
    prompts = np.unique(np.round(np.geomspace(1, 20000, 400)))
    for outputs in (0, 1, 7, 500):
        assert np.all(np.diff(fit.predict(prompts, outputs)) >= 0)
    assert np.all(np.diff(fit.predict(300, np.arange(1, 50))) > 0)


@given(curves)
@settings(max_examples=25)
def test_the_curve_is_continuous(curve: PromptCurve) -> None:
    prompts = np.linspace(1, 3000, 40000)
    steepest = (
        1.01
        * curve.slope_s_per_token
        * (1 if curve.tiles is None else curve.tiles.tokens / curve.tiles.ramp_tokens + 1)
    )
    # The corner adds at most the slope of the line.
    assert np.max(np.diff(curve.at(prompts)) / np.diff(prompts)) <= steepest


@given(st.floats(0.005, 0.5), st.floats(50, 1500), st.booleans())
@settings(max_examples=8)
def test_it_is_exact_on_data_of_its_own_form(floor_s: float, corner: float, tiled: bool) -> None:
    curve = PromptCurve(floor_s, floor_s / corner, 40.0, 4.4, Tiles(128, 0.62) if tiled else None)
    grid = [(p, o) for p in (1, 64, 128, 256, 512, 1024, 1920) for o in (1, 8, 64)]
    profile = profile_of(curve, floor_s / 1.08, 6e-7, grid)
    fit = fit_runtime(profile, curve.tiles, Priors(usual=((1, 0.0),)))
    assert fit.predict(profile.prompt_tokens, profile.output_tokens) == pytest.approx(
        profile.runtime_s, rel=3e-3
    )
    unseen = profile_of(curve, floor_s / 1.08, 6e-7, [(90, 20), (384, 2), (700, 5), (1500, 40)])
    predicted = fit.predict(unseen.prompt_tokens, unseen.output_tokens)
    assert predicted == pytest.approx(unseen.runtime_s, rel=0.03)


def test_time_has_no_unit_of_its_own() -> None:
    curve = PromptCurve(0.05, 2e-4, 30.0, 4.0, Tiles())
    profile = profile_of(curve, 0.047, 1e-6, FOUR)
    seconds, milliseconds = fit_runtime(profile), fit_runtime(profile.scaled(1000))
    assert 1000 * seconds.predict(400, 10) == pytest.approx(milliseconds.predict(400, 10), rel=1e-4)


def test_doubt_shrinks_where_one_measures_and_grows_away_from_it() -> None:
    curve = PromptCurve(0.05, 2e-4, 30.0, 4.0, Tiles())
    few = fit_runtime(profile_of(curve, 0.047, 1e-6, FOUR))
    more = fit_runtime(profile_of(curve, 0.047, 1e-6, [*FOUR, (512, 1), (1280, 1), (128, 1)]))
    assert more.relative_sd(1280, 1) < few.relative_sd(1280, 1)
    assert few.relative_sd(100_000, 1) > few.relative_sd(4000, 1) > few.relative_sd(1920, 1)
    low, high = few.interval(512, 8, 0.9)
    wide_low, wide_high = few.interval(512, 8, 0.99)
    assert wide_low < low < few.predict(512, 8) < high < wide_high


def test_what_cannot_be_learned_or_asked_is_refused() -> None:
    with pytest.raises(InputError, match="two output tokens"):
        fit_runtime(RequestProfile.of([(1, 1, 0.1)]))
    fit = fit_runtime(RequestProfile.of([(1, 2, 0.1), (300, 1, 0.3)]))
    with pytest.raises(InputError, match="at least 1 prompt token"):
        fit.predict(0, 1)
    with pytest.raises(InputError, match="confidence"):
        fit.interval(1, 1, 1.0)
    with pytest.raises(InputError, match="finite"):
        RequestProfile.of([(1, 1, float("nan"))])


@given(curves)
@settings(max_examples=4)
def test_it_chooses_what_to_measure_and_grows_surer(curve: PromptCurve) -> None:
    target = Target.up_to(2048, 64)
    at = list(first_requests(target))
    widths = []
    for _ in range(5):
        fit = fit_runtime(profile_of(curve, curve.floor_s * 0.95, 1e-6, at), curve.tiles)
        widths.append(half_width(fit, target))
        chosen = next_request(fit, target)
        assert 1 <= chosen[0] <= 2048
        assert chosen[1] in (1, 64)
        at.append(chosen)
    assert widths[-1] < widths[0]


def test_only_unaligned_matrices_have_a_first_tile_that_is_whole() -> None:
    aligned, priors = tiles_and_priors((10240, 27328 // 4))
    assert (aligned, priors) == (Tiles(), Priors())
    tiles, wide = tiles_and_priors((10240, 27308 // 4))
    assert wide.lead.sd == 2 * priors.lead.sd
    curve = PromptCurve(0.07, 5e-4, 100.0, 5.0, tiles)
    few, beyond, whole = curve.at(np.asarray([32.0, 64.0, 128.0]))
    assert beyond > 1.3 * few
    assert whole < 1.2 * beyond
    with pytest.raises(InputError, match="few tokens"):
        Tiles(small_tokens=128)


@given(st.floats(0, 150), st.floats(0.3, 1), st.integers(8, 112))
def test_a_whole_first_tile_never_takes_less_for_more(
    lead: float, share: float, small: int
) -> None:
    curve = PromptCurve(0.05, 2e-4, lead, 5.0, Tiles(128, share, small_tokens=small))
    seconds = curve.at(np.arange(1.0, 700.0))
    assert np.all(np.diff(seconds) >= -1e-15)
    # Continuous: a ramp of 16 tokens holds the largest step.
    assert np.max(np.diff(seconds)) <= 2e-4 * ((128 + lead) / 16 + 1.01)


def test_a_model_on_a_gpu_is_expected_to_run_as_its_shape_says() -> None:
    config: dict[str, object] = {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2731,
        "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8,
        "vocab_size": 512, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    }  # fmt: skip
    for width, small in ((2731, 32), (2736, None)):
        setup = Setup("m", "e", "cuda:0 X", config={**config, "intermediate_size": width})
        measurements = [
            Measurement(setup, RequestLoad(1, p, o), (0.01 * o + 1e-5 * p,) * 3, Clock.CUDA, "")
            for p, o in ((1, 32), (512, 1))
        ]
        tiles = fit_requests(measurements).form.tiles
        assert tiles is not None
        assert tiles.small_tokens == small


def test_four_points_on_every_a100_model(a100: Profiles) -> None:
    means, worst = {}, {}
    for model, profile in a100.items():
        # YaLM's feed-forward block is 6,827 wide on each of its four accelerators.
        error = relative_errors(profile, FOUR, (6827,) if model == "yalm" else (4096,))
        means[model], worst[model] = float(error.mean()), float(error.max())
    assert len(means) == 13
    assert np.mean(list(means.values())) < 0.01
    assert max(worst.values()) < 0.105


def relative_errors(
    profile: RequestProfile, at: list[tuple[int, int]], widths: tuple[int, ...]
) -> FloatArray:
    pairs = zip(profile.prompt_tokens, profile.output_tokens, strict=True)
    chosen = np.asarray([(int(p), int(o)) in set(at) for p, o in pairs])
    fit = fit_runtime(profile.only(chosen), *tiles_and_priors(widths))
    predicted = fit.predict(profile.prompt_tokens, profile.output_tokens)
    return np.abs(predicted / profile.runtime_s - 1)
