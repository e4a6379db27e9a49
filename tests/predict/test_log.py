import json
from dataclasses import replace
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.predict.evaluate import Baseline, evaluate
from headway.predict.log import Observation, leak_warning, observation, read_log


def test_limits_that_give_lengths_away_are_called_a_leak() -> None:
    told = [Observation(f"prompt {i}", 10 + i, max_tokens=10 + i) for i in range(20)]
    assert "20 of 20" in str(leak_warning(told))
    assert "gives the length away" in evaluate(Baseline.fit(told, reads_size=False), told).notes[0]
    assert leak_warning([replace(o, max_tokens=500) for o in told]) is None
    assert leak_warning([replace(o, output_tokens=500, max_tokens=500) for o in told]) is None
    assert leak_warning([replace(o, max_tokens=None) for o in told]) is None


def test_the_shapes_that_servers_write_are_read() -> None:
    flat = {"prompt": "Hi", "output_tokens": 3, "model": "m", "tenant": "t", "max_tokens": 9}
    chat = {
        "request": {
            "messages": [{"role": "user", "content": "Hi"}],
            "model": "m",
            "user": "t",
            "max_completion_tokens": 9,
        },
        "response": {"usage": {"completion_tokens": 3}},
    }
    assert observation(flat, "line 1") == observation(chat, "line 1")


def test_empty_lines_are_passed_over_and_the_rest_kept(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "a", "output_tokens": 1}\n\n{"prompt": "b", "output_tokens": 2.0}\n')
    assert [o.output_tokens for o in read_log(log)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not a JSON object"),
        ("[1]", "a JSON object, not list"),
        ('{"output_tokens": 3}', "neither a text `prompt`"),
        ('{"prompt": 3, "output_tokens": 3}', "`prompt` is a text"),
        ('{"prompt": "a"}', "`output_tokens` is missing"),
        ('{"prompt": "a", "output_tokens": "3"}', "whole number"),
        ('{"prompt": "a", "output_tokens": 3.5}', "whole number"),
        ('{"prompt": "a", "output_tokens": NaN}', "whole number"),
        ('{"prompt": "a", "output_tokens": Infinity}', "whole number"),
        ('{"prompt": "a", "output_tokens": true}', "whole number"),
        ('{"prompt": "a", "output_tokens": -1}', "from 0"),
        ('{"prompt": "a", "output_tokens": 1e300}', "from 0"),
        ('{"prompt": "a", "output_tokens": 3, "max_tokens": 0}', "at least 1"),
        ('{"prompt": "a", "output_tokens": 3, "model": 7}', "`model` is a text"),
        ('{"messages": "a", "output_tokens": 3}', "neither"),
        ('{"prompt": {}, "output_tokens": 3}', "`prompt` is a text"),
        ("[" * 50_000, "not a JSON object"),
        ("\xff", "not a JSON object"),
    ],
)
def test_a_malformed_line_is_named(line: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    good = json.dumps({"prompt": "a", "output_tokens": 1})
    log.write_bytes(f"{good}\n{line}\n".encode("latin-1"))
    with pytest.raises(InputError, match=f"line 2: .*{said}"):
        read_log(log)


def test_an_empty_or_missing_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no finished request"):
        read_log(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="cannot read"):
        read_log(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match="cannot read"):
        read_log(tmp_path)


def test_unpaired_surrogates_are_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "a \\ud800 b", "output_tokens": 1}\n')
    assert read_log(log)[0].prompt == "a \ud800 b"
