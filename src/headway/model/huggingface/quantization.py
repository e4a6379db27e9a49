"""In which formats a checkpoint is published, from its `config.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from headway.dtypes import DType
from headway.errors import InputError, UnsupportedError
from headway.model.huggingface.config import config_file, language_part, load_config
from headway.model.precision import Precision
from headway.user_file import excerpt

_DTYPES = {
    "bfloat16": DType.BF16,
    "float16": DType.FP16,
    "half": DType.FP16,
    "float32": DType.FP32,
    "float": DType.FP32,
}
# ModelOpt's names: formats of weights and of activations, None where these stay wide.
_ALGORITHMS: dict[str, tuple[DType, DType | None]] = {
    "FP8": (DType.FP8, DType.FP8),
    "FP8_PB_WO": (DType.FP8, None),
    "FP8_PER_CHANNEL_PER_TOKEN": (DType.FP8, DType.FP8),
    "NVFP4": (DType.NVFP4, DType.NVFP4),
    "NVFP4_AWQ": (DType.NVFP4, DType.NVFP4),
    "W4A16_NVFP4": (DType.NVFP4, None),
    "W4A16_AWQ": (DType.INT4, None),
    "W4A8_AWQ": (DType.INT4, DType.FP8),
    "W8A8_SQ_PER_CHANNEL": (DType.INT8, DType.INT8),
}
_INT4_METHODS = ("awq", "gptq", "gptq_marlin", "awq_marlin", "auto-round", "autoround")
_EXCEPTIONS = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers")
_ATTENTION = re.compile(r"attn|attention")
_LAYER = re.compile(r"layers\.(\d+)\.")


def read_precision(path: str | Path) -> Precision:
    """Return the precision of the checkpoint in ``path``, a `config.json` or a folder with one.

    ModelOpt may state the quantization in a file of its own beside it.

    Raises:
        InputError: as `native_precision`, or the file cannot be read.

    """
    config = load_config(path)
    beside = config_file(path).with_name("hf_quant_config.json")
    if not language_part(config).get("quantization_config") and beside.is_file():
        config = {**config, "quantization_config": load_config(beside).get("quantization")}
    return native_precision(config)


def native_precision(config: Mapping[str, object]) -> Precision:
    """Return the precision of the checkpoint that ``config`` describes.

    The unquantized format is ``torch_dtype`` (or ``dtype``), bf16 where a quantized checkpoint
    leaves it out; the cache is in it unless the configuration says otherwise.

    Raises:
        InputError: no format is stated.
        UnsupportedError: the quantization is not one of those understood here.

    """
    part = language_part(config)
    if part.get("expert_dtype") is not None:
        raise UnsupportedError(
            f"'expert_dtype' ({excerpt(part['expert_dtype'])}) beside another format of the "
            f"weights is not understood; give a precision such as fp8 instead"
        )

    quantization = part.get("quantization_config")
    if not quantization:
        wide = _unquantized_dtype(part, None)
        return Precision(wide, wide, wide)

    if not isinstance(quantization, dict):
        raise InputError(f"'quantization_config' must be an object, not {excerpt(quantization)}")
    wide = _unquantized_dtype(part, DType.BF16)
    weights, activations = _quantized(quantization)
    attention = wide if _leaves_attention(quantization, part.get("num_hidden_layers")) else None
    return Precision(weights, activations or wide, _cache(quantization, wide), attention)


def _unquantized_dtype(config: Mapping[str, object], default: DType | None) -> DType:
    name = config.get("torch_dtype") or config.get("dtype")
    if name is None and default is not None:
        return default
    if name is None:
        raise InputError("config.json states neither 'torch_dtype' nor 'dtype'; give a precision")

    dtype = _DTYPES.get(name.removeprefix("torch.")) if isinstance(name, str) else None
    if dtype is None:
        raise UnsupportedError(f"torch_dtype {excerpt(name)} is not one of {', '.join(_DTYPES)}")
    return dtype


def _quantized(quantization: Mapping[str, object]) -> tuple[DType, DType | None]:
    method, algorithm = quantization.get("quant_method"), quantization.get("quant_algo")

    match method:
        case "mxfp4":
            return DType.MXFP4, None
        case "fp8" | "fbgemm_fp8" if algorithm is None:
            return DType.FP8, DType.FP8
        case str() if method in _INT4_METHODS:
            return _weight_only(quantization.get("bits"))
        case "bitsandbytes":
            return _weight_only(4 if quantization.get("load_in_4bit") else 8)
        case "compressed-tensors":
            return _compressed_tensors(quantization.get("config_groups"))

    if isinstance(algorithm, str) and algorithm.upper() in _ALGORITHMS:
        return _ALGORITHMS[algorithm.upper()]
    name = algorithm if algorithm is not None else method
    raise UnsupportedError(
        f"the quantization {excerpt(name)} is not understood; give a precision such as fp8 instead"
    )


def _weight_only(bits: object) -> tuple[DType, DType | None]:
    formats = {4: DType.INT4, 8: DType.INT8}
    if not isinstance(bits, int) or bits not in formats:
        raise UnsupportedError(
            f"weights of {excerpt(bits)} bits are not understood, only of 4 or 8; give a precision "
            "such as int4 instead"
        )
    return formats[bits], None


def _compressed_tensors(groups: object) -> tuple[DType, DType | None]:
    if not isinstance(groups, dict) or len(groups) != 1:
        raise UnsupportedError("only one group in 'config_groups' is understood")
    (group,) = groups.values()
    scheme = group if isinstance(group, dict) else {}
    weights = _number_format(scheme.get("weights"))
    if weights is None:
        raise UnsupportedError("'config_groups' does not say how weights are stored")
    return weights, _number_format(scheme.get("input_activations"))


def _number_format(scheme: object) -> DType | None:
    if scheme is None:
        return None
    key = (scheme.get("type"), scheme.get("num_bits")) if isinstance(scheme, dict) else scheme
    match key:
        case ("float", 8):
            return DType.FP8
        case ("float", 4):
            return DType.NVFP4 if _group_size(scheme) == 16 else DType.MXFP4
        case ("int", 8):
            return DType.INT8
        case ("int", 4):
            return DType.INT4
    raise UnsupportedError(f"the number format {excerpt(scheme)} is not understood")


def _group_size(scheme: object) -> object:
    return scheme.get("group_size") if isinstance(scheme, dict) else None


def _cache(quantization: Mapping[str, object], wide: DType) -> DType:
    scheme = quantization.get("kv_cache_scheme", quantization.get("kv_cache_quant_algo"))
    if scheme is None:
        return wide
    if isinstance(scheme, str):
        if scheme.upper() == "FP8":
            return DType.FP8
        raise UnsupportedError(f"the KV cache format {excerpt(scheme)} is not understood")
    return _number_format(scheme) or wide


def _leaves_attention(quantization: Mapping[str, object], num_layers: object) -> bool:
    """Whether the attention matrices of most layers stay unquantized."""
    layers = set()
    for key in _EXCEPTIONS:
        names = quantization.get(key)
        for name in names if isinstance(names, list) else ():
            is_attention = isinstance(name, str) and _ATTENTION.search(name)
            if not is_attention or "norm" in name or "indexer" in name:
                continue

            layer = _LAYER.search(name)
            if layer is None:  # a pattern for all layers, such as model.layers.*.self_attn
                return True
            layers.add(layer.group(1))
    return isinstance(num_layers, int) and 2 * len(layers) > num_layers
