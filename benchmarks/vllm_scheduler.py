"""Our orders inside vLLM against its own: attainment, mean and tail, on its CPU build.

A tiny model with random weights, few slots, and a clock that counts steps: every step takes
``STEP_S`` on it, however long this machine needs, so that runs repeat. Requests come at random;
their lengths are heavy-tailed and predicted with a stated error; everyone is promised a first token
within ``TTFT_S``. Beside it the CPU time of the whole decision, ordering included, of what is
vLLM's own of that, and of what is ours.

Run where vLLM is installed (its CPU build will do): python benchmarks/vllm_scheduler.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

for variable, value in {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ.setdefault(variable, value)

import numpy as np  # noqa: E402  vLLM reads its environment when it is imported

from headway.predict.prediction import LEVELS  # noqa: E402  as above
from headway.schedule.hints import QUANTILES, TTFT  # noqa: E402  as above

SLOTS, STEP_S, TTFT_S = 8, 0.012, 0.5
MEDIAN_TOKENS, SIGMA, NOISE = 40.0, 1.0, 0.6
POLICIES = ("stock", "fcfs", "sjf", "moore", "slack", "gittins")
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}


@dataclass(slots=True)
class StepClock:
    """A clock that counts steps."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Return the seconds that have passed."""
        return self.now_s


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Requests: when they come, their tokens, and what is predicted of their answers."""

    arrival_s: Any
    prompt_tokens: Any
    output_tokens: Any
    quantiles: Any

    @classmethod
    def draw(cls, num_requests: int, rate_per_s: float, seed: int) -> Load:
        """Draw lognormal answers whose logarithm is predicted with an error of ``NOISE``."""
        rng = np.random.default_rng(seed)
        logs = np.log(MEDIAN_TOKENS) + SIGMA * rng.standard_normal(num_requests)
        signal = logs + NOISE * rng.standard_normal(num_requests)

        # What the signal leaves open: the posterior of two normal laws.
        share = SIGMA**2 / (SIGMA**2 + NOISE**2)
        middle = np.log(MEDIAN_TOKENS) + share * (signal - np.log(MEDIAN_TOKENS))
        spread = SIGMA * np.sqrt(1 - share)
        draws = np.quantile(np.random.default_rng(0).standard_normal(20_000), LEVELS)
        return cls(
            arrival_s=np.cumsum(rng.exponential(1 / rate_per_s, num_requests)),
            prompt_tokens=rng.integers(16, 64, num_requests),
            output_tokens=np.clip(np.exp(logs), 1, 800).astype(int),
            quantiles=np.clip(np.exp(middle[:, None] + spread * draws), 1, None),
        )


@dataclass(slots=True)
class Outcome:
    """Times of every request on the step clock, and what the decisions took."""

    first_s: dict[int, float] = field(default_factory=dict)
    last_s: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    decision_s: list[float] = field(default_factory=list)
    stock_s: list[float] = field(default_factory=list)
    num_preemptions: int = 0


def engine(folder: str, policy: str, clock: StepClock) -> Any:
    """Return vLLM's engine in this process, its scheduler on ``clock``."""
    import vllm
    from headway.vllm.scheduler import Scheduler

    class OnClock(Scheduler):
        pass

    OnClock.clock = staticmethod(clock)
    own: dict[str, Any] = {}
    if policy != "stock":
        settings = {"policy": policy, "output_token_s": STEP_S, "prompt_token_s": 1e-4}
        own = {"scheduler_cls": OnClock, "additional_config": {"headway": settings}}
    return vllm.LLM(
        model=folder,
        load_format="dummy",
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=SLOTS,
        max_num_batched_tokens=1024,
        block_size=32,
        enable_prefix_caching=True,
        **own,
    ).llm_engine


def serve(run: Any, load: Load, clock: StepClock) -> Outcome:
    """Serve ``load`` on the engine ``run``; return when its tokens came."""
    import vllm

    outcome, num_requests = Outcome(), len(load.arrival_s)
    _vllms_own_s().clear()  # first: what is bound below must be timed, too
    scheduler = run.engine_core.engine_core.scheduler
    scheduler.schedule = _timed(scheduler.schedule, outcome.decision_s)
    next_request, rng = 0, np.random.default_rng(1)
    clock.now_s = 0.0
    while len(outcome.last_s) < num_requests:
        if not run.has_unfinished_requests():
            clock.now_s = max(clock.now_s, float(load.arrival_s[next_request]))
        while next_request < num_requests and load.arrival_s[next_request] <= clock.now_s:
            i = next_request
            settings = vllm.SamplingParams(
                max_tokens=int(load.output_tokens[i]),
                temperature=0.0,
                ignore_eos=True,
                detokenize=False,
                extra_args={QUANTILES: load.quantiles[i].tolist(), TTFT: TTFT_S},
            )
            prompt = {"prompt_token_ids": rng.integers(0, 512, load.prompt_tokens[i]).tolist()}
            run.add_request(str(i), prompt, settings, arrival_time=float(load.arrival_s[i]))
            next_request += 1

        clock.now_s += STEP_S
        for answer in run.step():
            number = int(answer.request_id.split("-")[0])
            outcome.first_s.setdefault(number, clock.now_s)
            if answer.finished:
                outcome.last_s[number] = clock.now_s
                outcome.tokens[number] = len(answer.outputs[0].token_ids)
    outcome.stock_s = list(_vllms_own_s())
    return outcome


@cache
def _vllms_own_s() -> list[float]:
    """Return where vLLM's own scheduler, stock or below ours, notes what each decision takes."""
    from vllm.v1.core.sched.scheduler import Scheduler as Vllms

    seconds: list[float] = []
    Vllms.schedule = _timed(Vllms.schedule, seconds)
    return seconds


def _timed(schedule: Any, seconds: list[float]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        start = time.thread_time()
        answer = schedule(*args, **options)
        seconds.append(time.thread_time() - start)
        return answer

    return call


def row(policy: str, seed: int, load: Load, outcome: Outcome) -> dict[str, Any]:
    """Return what the run came to."""
    n = len(load.arrival_s)
    first_s = np.array([outcome.first_s[i] for i in range(n)]) - load.arrival_s
    last_s = np.array([outcome.last_s[i] for i in range(n)]) - load.arrival_s
    ours_s = np.array(outcome.decision_s) - outcome.stock_s
    return {
        "policy": policy,
        "seed": seed,
        "attainment": float(np.mean(first_s <= TTFT_S + STEP_S)),
        "mean_e2e_s": float(last_s.mean()),
        "p99_e2e_s": float(np.quantile(last_s, 0.99)),
        "max_e2e_s": float(last_s.max()),
        "lengths_exact": all(outcome.tokens[i] == load.output_tokens[i] for i in range(n)),
        "decision_us": 1e6 * float(np.median(outcome.decision_s)),
        "vllm_us": 1e6 * float(np.median(outcome.stock_s)),
        "ours_us": 1e6 * float(np.median(ours_s)),
        "ours_mean_us": 1e6 * float(np.mean(ours_s)),
        "ours_p99_us": 1e6 * float(np.quantile(ours_s, 0.99)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--rate", type=float, default=9.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", default=",".join(POLICIES))
    options = parser.parse_args()

    import tempfile
    from pathlib import Path

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(CONFIG))
        for policy in options.policies.split(","):
            clock = StepClock()
            run = engine(folder, policy, clock)
            for seed in range(options.seeds):
                load = Load.draw(options.requests, options.rate, seed)
                rows.append(row(policy, seed, load, serve(run, load, clock)))
                print(
                    " ".join(
                        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                        for k, v in rows[-1].items()
                    ),
                    flush=True,
                )
            del run
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
