"""Programs that compute a model in this process, so that it can be profiled."""

from __future__ import annotations

from headway.engines.tiny import find_config
from headway.errors import InputError, UnknownNameError
from headway.measure.harness import Engine

RUNTIMES = ("transformers", "openvino", "vllm")


def start_runtime(
    model: str,
    runtime: str = "transformers",
    *,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int = 1,
    compile_graphs: bool = False,
) -> Engine:
    """Start ``runtime`` with ``model`` in this process, its weights random: no download.

    Args:
        model: a name of the catalogue, ``tiny-random``, or the path of a config.json.
        runtime: ``transformers``, ``openvino`` or ``vllm``, each from the extra it needs.
        device: "cpu", "cuda" or "cuda:1".
        dtype: as torch calls it; OpenVINO has its own.
        threads: on a CPU.
        compile_graphs: let vLLM compile and capture graphs, which starts slowly.

    Raises:
        UnknownNameError: no such runtime or model.
        MissingExtraError: the runtime is not installed.
        UnsupportedError: it cannot run the model, or not on ``device``.

    """
    if runtime not in RUNTIMES:
        raise UnknownNameError("runtime", runtime, RUNTIMES)
    config, name = find_config(model)

    if runtime == "openvino":
        if device != "cpu":
            raise InputError("OpenVINO is profiled on --device cpu only")
        from headway.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(config, name, threads=threads)

    if runtime == "vllm":
        from headway.engines.vllm_engine import VllmEngine

        return VllmEngine(
            config, name, device=device, dtype=dtype, threads=threads, eager=not compile_graphs
        )
    from headway.engines.transformers_engine import TransformersEngine

    return TransformersEngine(config, name, device=device, dtype=dtype, threads=threads)
