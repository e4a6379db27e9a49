from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headway.errors import InputError
from headway.workload.arrivals import arrivals, burstiness
from headway.workload.oracle import BlockHashes, Trace
from headway.workload.trace_formats import FORMATS, find_format
from headway.workload.traces import read_trace, write_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
MOONCAKE = """{"timestamp": 3000, "input_length": 1030, "output_length": 5, "hash_ids": [7, 8, 9]}
{"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [7, 3]}
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,Conversation log
"""
SERVEGEN = """request_id,timestamp,input_tokens,output_tokens
0,0.5,100,10
1,1.5,50,20
"""
LOG = """INFO 2026-01-01 10:00:00,250 usage prompt_tokens: 12, completion_tokens: 5
DEBUG nothing here
INFO 2026-01-01 10:00:01.000 {"prompt_tokens": 30, "completion_tokens": 7}
"""


@pytest.mark.parametrize(
    ("form", "name", "text", "arrival", "prompt", "output"),
    [
        ("azure", "a.csv", AZURE, [0, 4.314579], [374, 396], [44, 109]),
        ("mooncake", "m.jsonl", MOONCAKE, [0, 3], [600, 1030], [2, 5]),
        ("qwen-bailian", "q.jsonl", MOONCAKE, [0, 3000], [600, 1030], [2, 5]),
        ("burstgpt", "b.csv", BURST, [0, 40], [472, 1087], [18, 230]),
        ("servegen", "s.csv", SERVEGEN, [0, 1], [100, 50], [10, 20]),
        ("vllm-log", "v.log", LOG, [0, 0.75], [12, 30], [5, 7]),
    ],
)
def test_every_format_is_read(
    tmp_path: Path,
    form: str,
    name: str,
    text: str,
    arrival: list[float],
    prompt: list[int],
    output: list[int],
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    trace = find_format(form).read(path)
    assert trace.arrival_s == pytest.approx(arrival, abs=1e-5)
    assert trace.prompt_tokens.tolist() == prompt
    assert trace.output_tokens.tolist() == output
    if form == "mooncake":
        assert trace.prefixes is not None
        assert trace.prefixes.tokens == 512
        first = trace.prefixes.hashes
        assert first[0] == first[trace.prefixes.first[1]]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_is_written_reads_back_the_same(tmp_path: Path, suffix: str) -> None:
    hashes = BlockHashes.of_lists([[1, 2], [1, 3, 4]], 16)
    trace = Trace(np.array([0.0, 0.1 + 0.2]), np.array([40, 50]), np.array([5, 6]), "t", hashes)
    path = tmp_path / f"t{suffix}"
    write_trace(trace, path)
    again = read_trace(path)
    assert again.arrival_s.tobytes() == trace.arrival_s.tobytes()
    assert again.prompt_tokens.tolist() == [40, 50]
    if suffix == ".jsonl":
        assert again.prefixes is not None
        assert again.prefixes.first.tolist() == [0, 2, 5]
        assert again.prefixes.tokens == 16


BAD: list[tuple[str, str, Callable[[Path], Trace]]] = [
    ("x.csv", "time,tokens\n1,2\n", read_trace),
    ("x.csv", "arrival_s,prompt_tokens,output_tokens\n1,2.5,3\n", read_trace),
    ("x.csv", "arrival_s,prompt_tokens,output_tokens\n", read_trace),
    ("x.csv", "arrival_s,prompt_tokens,output_tokens\nnan,1,1\n", read_trace),
    ("x.csv", "arrival_s,prompt_tokens,output_tokens\n0,0,1\n", read_trace),
    ("x.jsonl", "[]\n", read_trace),
    ("x.jsonl", "{\n", read_trace),
    ("x.csv", "TIMESTAMP,ContextTokens\nx,1\n", FORMATS["azure"].read),
    ("x.log", "nothing\n", FORMATS["vllm-log"].read),
    ("x.jsonl", '{"timestamp": 1}\n', FORMATS["mooncake"].read),
]


@pytest.mark.parametrize(("name", "text", "read"), BAD)
def test_what_is_no_trace_is_refused_with_a_sentence(
    tmp_path: Path, name: str, text: str, read: Callable[[Path], Trace]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        read(path)


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_trace(tmp_path / "none.csv")


def test_arrivals_have_the_rate_and_the_burstiness_that_was_asked_for() -> None:
    random = np.random.default_rng(0)
    even = arrivals(random, 20_000, 5.0, 0.0)
    assert np.diff(even) == pytest.approx(0.2)
    bursty = arrivals(random, 50_000, 5.0, 3.0)
    assert len(bursty) / bursty[-1] == pytest.approx(5.0, rel=1e-3)
    assert burstiness(bursty)[0] == pytest.approx(3.0, rel=0.1)
    swinging = arrivals(random, 50_000, 5.0, 1.0, rate_cv=0.5)
    assert burstiness(swinging)[1] == pytest.approx(0.5, rel=0.25)
    with pytest.raises(InputError, match="rate"):
        arrivals(random, 10, 0.0)


def test_a_trace_is_checked_at_birth() -> None:
    with pytest.raises(InputError, match="order of arrival"):
        Trace(np.array([1.0, 0.0]), np.array([1, 1]), np.array([1, 1]))
    with pytest.raises(InputError, match="seconds"):
        Trace(np.array([1.7e9]), np.array([1]), np.array([1]))
    stretched = Trace(np.array([0.0, 1.0, 4.0]), np.array([1, 1, 1]), np.array([1, 1, 1])).at_rate(
        4.0
    )
    assert stretched.rate_rps == pytest.approx(4.0)


def test_llmservingsim_prompts_that_begin_alike_share_hashes(tmp_path: Path) -> None:
    file = tmp_path / "sharegpt.jsonl"
    first, other = list(range(40)), [*range(16), *range(100, 124)]
    file.write_text(
        "".join(
            json.dumps(
                {"input_toks": 40, "output_toks": 9, "arrival_time_ns": k * 5, "input_tok_ids": ids}
            )
            + "\n"
            for k, ids in enumerate((first, other))
        )
    )
    trace = find_format("llmservingsim").read(file)
    assert trace.arrival_s.tolist() == pytest.approx([0, 5e-9])
    assert trace.prefixes is not None
    assert trace.prefixes.tokens == 16
    a, b = (trace.prefixes.hashes[trace.prefixes.first[i] :][:2] for i in range(2))
    assert a[0] == b[0]
    assert a[1] != b[1]


def test_tenants_keep_their_names(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens,tenant\n0,5,6,zoe\n1,5,6,adam\n")
    read = read_trace(file)
    assert [read.request(i).tenant for i in range(2)] == ["zoe", "adam"]
    write_trace(read, tmp_path / "again.jsonl")
    again = read_trace(tmp_path / "again.jsonl")
    assert again.tenant_names == ("adam", "zoe")
    assert again.tenants is not None
    assert again.tenants.tolist() == [1, 0]
    assert again.head(1).request(0).tenant == "zoe"
