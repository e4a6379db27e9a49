"""Headway: the economics and the scheduling of language-model inference.

This is the public face. A name is imported when it is first used, so that ``import headway`` costs
next to nothing::

    import headway as hw

    served = hw.deployment("llama-3.3-70b@8xh100:tp8", precision="fp8", engine="vllm").serve(
        hw.Load(prompt=2000, output=400, concurrency=[1, 8, 64])
    )
    print(served.tpot_s.expected)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.errors import HeadwayError, InputError
    from headway.frontier.answer import frontier
    from headway.frontier.possible import possible_report as possible
    from headway.frontier.question import Question
    from headway.frontier.what_if import Target, what_if
    from headway.hardware.catalogue import find_cluster as cluster
    from headway.ideal.reference import idealize
    from headway.load.load_plan import LoadPlan
    from headway.load.session import load_test
    from headway.measure.calibrate import calibrate
    from headway.model.catalogue import find_model as model
    from headway.plan.ask import plan
    from headway.predict.answer import predict_length as predict
    from headway.report.estimate import Estimate
    from headway.report.report import Report
    from headway.schedule.policies import find_policy, policies
    from headway.serving.load import Load
    from headway.serving.report import estimate
    from headway.serving.token_prices import ApiPrices
    from headway.sim.simulate import simulate
    from headway.steptime.acceptance import speculation_by as speculation
    from headway.steptime.calibration import read_calibration
    from headway.steptime.deployment import Deployment
    from headway.steptime.deployment_name import parse_deployment as deployment
    from headway.steptime.placed_model import Drafting
    from headway.workload.objective import parse_slo as slo

__version__ = "0.1.0"

_PLACES = {
    # What one has, and what one asks of it.
    "model": "headway.model.catalogue:find_model",
    "cluster": "headway.hardware.catalogue:find_cluster",
    "Deployment": "headway.steptime.deployment:Deployment",
    "deployment": "headway.steptime.deployment_name:parse_deployment",
    "Drafting": "headway.steptime.placed_model:Drafting",
    "speculation": "headway.steptime.acceptance:speculation_by",
    "Load": "headway.serving.load:Load",
    "ApiPrices": "headway.serving.token_prices:ApiPrices",
    "slo": "headway.workload.objective:parse_slo",
    "Question": "headway.frontier.question:Question",
    "Target": "headway.frontier.what_if:Target",
    # Decide.
    "plan": "headway.plan.ask:plan",
    "estimate": "headway.serving.report:estimate",
    "frontier": "headway.frontier.answer:frontier",
    "possible": "headway.frontier.possible:possible_report",
    "what_if": "headway.frontier.what_if:what_if",
    # Measure.
    "calibrate": "headway.measure.calibrate:calibrate",
    "read_calibration": "headway.steptime.calibration:read_calibration",
    "idealize": "headway.ideal.reference:idealize",
    "LoadPlan": "headway.load.load_plan:LoadPlan",
    "load_test": "headway.load.session:load_test",
    # Schedule.
    "predict": "headway.predict.answer:predict_length",
    "simulate": "headway.sim.simulate:simulate",
    "policies": "headway.schedule.policies:policies",
    "find_policy": "headway.schedule.policies:find_policy",
    # Answers.
    "Report": "headway.report.report:Report",
    "Estimate": "headway.report.estimate:Estimate",
    "HeadwayError": "headway.errors:HeadwayError",
    "InputError": "headway.errors:InputError",
}
__all__ = [  # as in _PLACES, for type checkers
    "ApiPrices",
    "Deployment",
    "Drafting",
    "Estimate",
    "HeadwayError",
    "InputError",
    "Load",
    "LoadPlan",
    "Question",
    "Report",
    "Target",
    "calibrate",
    "cluster",
    "deployment",
    "estimate",
    "find_policy",
    "frontier",
    "idealize",
    "load_test",
    "model",
    "plan",
    "policies",
    "possible",
    "predict",
    "read_calibration",
    "simulate",
    "slo",
    "speculation",
    "what_if",
]


def __getattr__(name: str) -> Any:
    """Import a name of the public face when it is first used."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"headway has no {name!r}; it has {', '.join(_PLACES)}")
    module, _, attribute = place.partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


class _PublicFace(ModuleType):
    """The package ``headway``, in which ``model``, ``frontier`` and ``predict`` are functions.

    Rooms have these names too. Python stores a room in its package once it is imported, and would
    so replace the function; the room is still found by ``from headway.frontier import ...``.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _PublicFace
