"""What `headway simulate` is told, as objects: workload, deployment, objectives, predictor."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.predict import LengthPredictor, load
from headway.predict.default import default_predictor
from headway.record.store import is_record
from headway.record.trace import recorded_trace
from headway.sim.engine import Engine, kv_blocks
from headway.sim.outcome import simulate_trace
from headway.sim.site import Pool, Site
from headway.sim.times import tabulate
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.steptime.measured import OperatorStepTime
from headway.steptime.step_time import AnalyticStepTime, StepTimeModel
from headway.units import check_positive
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile, profile_names
from headway.workload.traces import read_trace

TRAINING_SEED = 1_000_000


def parse_predictor(text: str) -> tuple[float, LengthPredictor | None]:
    """``oracle``, or ``tau=0.4``: the skill of made-up predictions; or a trained one's folder."""
    if text == "oracle":
        return 1.0, None
    if text == "default":
        return 0.0, default_predictor()
    if Path(text).is_dir():
        return 0.0, load(Path(text))
    match = re.fullmatch(r"(?:tau=)?(0(?:\.\d+)?|1(?:\.0+)?)", text)
    if match is None:
        raise InputError(
            f"a predictor is tau=SKILL from 0 to 1, oracle, default, or a trained one's folder, "
            f"not {text!r}"
        )
    return float(match[1]), None


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Where requests come from: a profile, drawn anew for every seed, or a file."""

    name: str
    trace: Trace | None
    requests: int
    shares: tuple[tuple[str, float], ...] = ()  # of the requests of a profile, by tenant

    @classmethod
    def of(cls, text: str, requests: int | None) -> Workload:
        """A profile's name, the path of a trace, or that of a gateway's record."""
        if text in profile_names():
            return cls(text, None, requests or 10_000)
        path = Path(text)
        if (
            is_record(text)
            or path.suffix in (".csv", ".jsonl", ".json", ".parquet")
            or path.exists()
        ):
            trace = recorded_trace(text) if is_record(text) else read_trace(path)
            trace = trace if requests is None else trace.head(requests)
            return cls(trace.name, trace, len(trace))
        find_profile(text)  # raises, with the nearest names
        raise AssertionError

    def draw(self, seed: int, rate_rps: float | None) -> Trace:
        """The requests of ``seed`` at ``rate_rps``, the original's where not said."""
        if self.trace is None:
            drawn = find_profile(self.name).generate(seed, self.requests, rate_rps)
            return self._shared(drawn, seed)
        return self.trace if rate_rps is None else self.trace.at_rate(rate_rps)

    def _shared(self, trace: Trace, seed: int) -> Trace:
        """``trace``, its requests dealt out to the tenants at random."""
        if not self.shares:
            return trace
        weights = np.array([share for _, share in self.shares])
        random = np.random.default_rng([seed, 13])
        tenants = random.choice(len(weights), len(trace), p=weights / weights.sum())
        return replace(trace, tenants=tenants, tenant_names=tuple(n for n, _ in self.shares))

    def training(self, rate_rps: float | None) -> tuple[Trace, ...]:
        """Requests to tune an order on, before it is measured on `draw`."""
        if self.trace is None:
            return tuple(self.draw(TRAINING_SEED + k, rate_rps) for k in range(4))
        return (self.draw(0, rate_rps).head(max(1, self.requests // 3)),)

    @property
    def trained_on(self) -> str:
        """What `training` is, in words."""
        return "seeds of its own" if self.trace is None else "the first third of the trace"


def engine_of(deployment: Deployment, **limits: int | bool | None) -> Engine:
    """The limits that were said, the cache as large as the memory allows."""
    said = {key: value for key, value in limits.items() if value is not None}
    if "num_kv_blocks" not in said:
        said["num_kv_blocks"] = kv_blocks(deployment, int(said.get("kv_block_tokens", 16)))
    return Engine(**said)  # type: ignore[arg-type]  # names and types are those of the options


def pool_of(deployment: Deployment, engine: Engine, replicas: int, times: str = "analytic") -> Pool:
    """A pool of what was said."""
    name = f"{deployment.model.name} on {deployment.cluster.name}"
    return Pool(engine, tabulate(parse_times(times, deployment), engine), replicas, name)


def parse_times(text: str, deployment: Deployment) -> StepTimeModel:
    """``analytic``, the name of an engine that was calibrated, or a folder of operators."""
    if text == "analytic":
        return AnalyticStepTime(deployment)
    if Path(text).is_dir():
        return OperatorStepTime.read(Path(text), deployment)
    if not re.fullmatch(r"[\w.-]+", text):
        raise InputError(f"step times are analytic, an engine's name, or a folder; {text} is none")
    shipped().check_engine(text)
    return CalibratedStepTime(deployment, text)


def saturation_rps(trace: Trace, cluster: Site) -> float:
    """Requests per second when all are there at once: the middle of that run."""
    at_once = Trace(
        np.zeros(len(trace)), trace.prompt_tokens, trace.output_tokens, trace.name, trace.prefixes
    )
    ends = np.sort(simulate_trace(at_once, cluster).requests["last_ns"]) * 1e-9
    ends = ends[ends > 0]
    low, high = len(ends) // 5, 4 * len(ends) // 5
    if high <= low or ends[high] <= ends[low]:
        raise InputError("too few requests to measure saturation; give --rate instead of --load")
    return check_positive(float((high - low) / (ends[high] - ends[low])), "saturation")
