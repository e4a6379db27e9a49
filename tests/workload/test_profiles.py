from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools.fit_profiles import SOURCES

from headway.errors import UnknownNameError
from headway.workload.oracle import Trace
from headway.workload.profile import Profile, find_profile, profile_names, seen_fractions
from headway.workload.traces import read_trace

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"


def test_five_profiles_ship_and_name_their_source() -> None:
    assert set(profile_names()) == set(SOURCES)
    for name in profile_names():
        source = find_profile(name).source
        assert "CC-BY" in source or "Apache" in source


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_same_seed_gives_the_same_trace_and_another_rate_the_same_lengths(name: str) -> None:
    profile = find_profile(name)
    one, two = profile.generate(3, 500), profile.generate(3, 500)
    assert one.arrival_s.tobytes() == two.arrival_s.tobytes()
    fast = profile.generate(3, 500, rate_rps=2 * profile.rate_rps)
    assert fast.prompt_tokens.tobytes() == one.prompt_tokens.tobytes()
    assert not np.array_equal(profile.generate(4, 500).prompt_tokens, one.prompt_tokens)
    assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_generator_reproduces_the_original(name: str) -> None:
    file = TRACES / SOURCES[name][0]
    if not file.exists():
        pytest.skip(
            "the public traces are not here; headway.workload.trace_formats says where they are"
        )
    pytest.importorskip("pyarrow")
    original = read_trace(file)
    drawn = [find_profile(name).generate(seed, len(original)) for seed in range(3)]

    def close(of: object, tolerance: float) -> None:
        assert callable(of)
        values = [of(trace) for trace in drawn]
        assert np.mean(values) == pytest.approx(of(original), rel=tolerance)

    close(lambda t: t.rate_rps, 0.02)
    for column in ("prompt_tokens", "output_tokens"):
        close(lambda t, c=column: float(getattr(t, c).mean()), 0.06)
        for quantile in (50, 90, 99):
            close(lambda t, c=column, q=quantile: np.percentile(getattr(t, c), q), 0.16)

    def correlation(trace: Trace) -> float:
        return float(np.corrcoef(np.log(trace.prompt_tokens), np.log(trace.output_tokens))[0, 1])

    assert np.mean([correlation(t) for t in drawn]) == pytest.approx(
        correlation(original), abs=0.04
    )
    close(lambda t: np.diff(t.arrival_s).std() / np.diff(t.arrival_s).mean(), 0.25)
    if original.prefixes is not None:

        def hits(trace: Trace) -> float:
            assert trace.prefixes is not None
            blocks = np.diff(trace.prefixes.first)
            return float((seen_fractions(trace.prefixes) * blocks).sum() / blocks.sum())

        close(hits, 0.12)


def test_an_unknown_profile_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="azure-conv"):
        find_profile("azure-con")
