"""``headway serve``: an OpenAI-compatible gateway that schedules by predicted length."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headway.errors import InputError, need

if TYPE_CHECKING:  # NumPy must not be loaded before `_one_thread`
    from headway.gateway.config import GatewayConfig
    from headway.gateway.server.gateway import Gateway


@click.command()
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="URL",
    help="An engine's API, such as http://localhost:8000/v1; may be repeated.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file; SIGHUP rereads it.",
)
@click.option(
    "--on",
    metavar="MODEL@HARDWARE",
    help="The deployment behind it, such as llama-3.1-8b@h100:tp1: the first expectation of times.",
)
@click.option(
    "--engine", metavar="NAME", help="Serving engine of --on, or none. Default: vllm if measured."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="A file of headway calibrate, on what ships; for --on.",
)
@click.option("--policy", metavar="NAME", help="In what order requests wait. Default: headway.")
@click.option(
    "--slo",
    metavar="OBJECTIVES",
    help='What requests are promised that name no class, such as "ttft p95 < 1s".',
)
@click.option(
    "--mode",
    type=click.Choice(["schedule", "annotate"]),
    help="Keep the queue here, or pass all on with the engine's own priority set.",
)
@click.option("--host", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on, 0 for any. Default: 9000.")
@click.option(
    "--record",
    metavar="PATH",
    help="Database of all requests: an SQLite file, or postgresql://user@host/database.",
)
@click.option(
    "--keep-prompts", is_flag=True, default=None, help="Record prompts, not only their hashes."
)
@click.option(
    "--predictor",
    type=click.Path(path_type=Path),
    help="Folder of a trained predictor. Default: the one that ships.",
)
@click.option(
    "--make-key",
    metavar="TENANT",
    help="Print a fresh API key and the lines to configure it, and exit.",
)
@click.option(
    "--through",
    type=click.Choice(["envoy"]),
    help="Who carries the bytes in place of our own server: an Envoy that is started here.",
)
@click.option(
    "--as",
    "role",
    type=click.Choice(["picker"]),
    help="Pick endpoints for a cluster's gateway, as the Gateway API inference extension asks.",
)
@click.option(
    "--picker-address",
    default="127.0.0.1:9002",
    show_default=True,
    metavar="HOST:PORT",
    help="Where --as picker listens for the gateway, by gRPC.",
)
@click.option("--json-logs", is_flag=True, help="Log one JSON object a line.")
def serve(
    backends: tuple[str, ...],
    file: Path | None,
    on: str | None,
    engine: str | None,
    calibration: tuple[Path, ...],
    policy: str | None,
    slo: str | None,
    mode: str | None,
    host: str | None,
    port: int | None,
    record: str | None,
    keep_prompts: bool | None,
    predictor: Path | None,
    make_key: str | None,
    through: str | None,
    role: str | None,
    picker_address: str,
    json_logs: bool,
) -> None:
    """Serve OpenAI's API in front of engines, in the order that a policy says.

    Change the base URL of any OpenAI client to this gateway's; nothing else needs to change.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the gateway itself listens to it
    _one_thread()
    need("httptools", "the gateway", "serve")
    if make_key is not None:
        _print_key(make_key)
        return
    from headway.gateway.config_file import load_config
    from headway.gateway.server.serve import serve as run
    from headway.predict.storage import default_predictor, load

    _log_to_stderr(json_logs)

    def read() -> GatewayConfig:
        return load_config(
            file,
            backends=backends,
            policy=policy,
            on=on,
            engine=engine,
            calibration=calibration,
            slo=slo,
            mode=mode,
            host=host,
            port=port,
            record=record,
            keep_prompts=keep_prompts,
        )

    def started(actual_port: int) -> None:
        name = f"[{config.host}]" if ":" in config.host else config.host
        urls = ", ".join(endpoint.url for endpoint in config.endpoints) or "what is discovered"
        click.echo(f"headway: http://{name}:{actual_port}/v1 in front of {urls}")

    gateway_type = _gateway_type(through=through, role=role, picker_address=picker_address)
    config = read()
    # Words alone: an embedding takes the loop's time, twenty milliseconds of it for each prompt.
    lengths = load(predictor) if predictor is not None else default_predictor(embed=False)
    run(
        config,
        lengths,
        reread=read if file is not None else None,
        started=started,
        gateway_type=gateway_type,
    )


def _gateway_type(
    *, through: str | None, role: str | None, picker_address: str
) -> Callable[..., Gateway]:
    """Return who carries the bytes: our own server, an Envoy of ours, or a cluster's gateway."""
    if through is None and role is None:
        from headway.gateway.server.gateway import Gateway

        return Gateway
    if through is not None and role is not None:
        raise InputError("--through envoy runs an Envoy here, --as picker serves another: give one")

    need("xds", "a gateway through Envoy", "envoy")
    from headway.gateway.envoy.gateway import EnvoyGateway, PickerGateway

    if through is not None:
        return EnvoyGateway
    host, _, port = picker_address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise InputError(f"--picker-address is HOST:PORT, 0.0.0.0:9002 say, not {picker_address!r}")
    return partial(PickerGateway, rpc_address=(host.strip("[]"), int(port)))


def _one_thread() -> None:
    """Keep BLAS from spinning: predictions are tiny, and its threads cost half as much again."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _print_key(tenant: str) -> None:
    from headway.gateway.config import Tenant
    from headway.gateway.scheduler.admission import key_hash, make_key

    if not tenant.strip():
        raise InputError("--make-key needs the tenant's name")
    key = make_key()
    sha256 = Tenant(tenant, key_hash(key)).key_sha256
    click.echo(f"{key}\n")
    click.echo("Give it to its owner: it is shown this once. Only its hash goes into the file:\n")
    click.echo(f'[[tenant]]\nname = {json.dumps(tenant)}\nkey_sha256 = "{sha256}"')


def _log_to_stderr(as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("headway")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        })  # fmt: skip
