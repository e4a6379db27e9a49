"""Asks aiconfigurator 0.12, in its own interpreter: one JSON question per line in, one answer out.

A question holds `variants`, keyword arguments of `cli_estimate` from the most faithful to the most
forgiving; the first that it can answer counts. Run by serving_against_aiconfigurator.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import Any

from aiconfigurator.cli.api import (  # type: ignore[import-not-found]  # lives in a venv of its own
    cli_estimate,
)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    refused = ""
    for place, variant in enumerate(question["variants"]):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = cli_estimate(**variant)
            return {
                "id": question["id"],
                "variant": place,
                "ttft_s": float(found.ttft) / 1e3,
                "tpot_s": float(found.tpot) / 1e3,
                "requests_per_s": float(found.raw["seq/s"]),
                "over_capacity": bool(found.kv_cache_warning),
            }
        except Exception as error:  # whatever it raises is its answer
            refused = refused or f"{type(error).__name__}: {error}"
    return {"id": question["id"], "refused": refused[:300]}


def main() -> None:
    logging.disable(logging.WARNING)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
