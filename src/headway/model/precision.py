"""In which number formats a model is stored, computed and cached."""

from __future__ import annotations

from dataclasses import dataclass

from headway.dtypes import DType
from headway.errors import InputError

# llama.cpp's names for files: weights only, with a 16-bit cache.
GGUF = {
    **dict.fromkeys(("q4_0", "q4_1", "q4_k_s", "q4_k_m", "iq4_xs", "iq4_nl"), "int4/fp16/fp16"),
    "q8_0": "int8/fp16/fp16",
    "f16": "fp16",
}


@dataclass(frozen=True, slots=True)
class Precision:
    """Formats of weights, of activations (the arithmetic is done in theirs) and of the KV cache.

    ``attention_weights`` is the format of the attention matrices where a quantization leaves them
    alone (gpt-oss), and ``None`` where they are stored like the others.
    """

    weights: DType
    activations: DType
    kv_cache: DType
    attention_weights: DType | None = None

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Return the precision written ``weights[+attention_weights][/activations[/kv_cache]]``.

        One name alone quantizes what an engine would by default: ``bf16`` everything, ``fp8``,
        ``int8``, ``nvfp4`` and ``mxfp4`` weights and activations with a 16-bit cache, ``int4`` the
        weights only. llama.cpp's names (``q4_k_m``, ``q8_0``, ``f16``) are read, too.
        """
        text = GGUF.get(text.strip().lower(), text)
        stored, _, rest = text.partition("/")
        weights_text, plus, attention_text = stored.partition("+")
        parts = [DType.parse(part) for part in (weights_text, *(rest.split("/") if rest else ()))]
        if len(parts) > 3 or text.endswith("/"):
            raise InputError(
                f"a precision is weights[/activations[/kv_cache]], such as fp8 or int4/bf16/fp8, "
                f"not {text[:40]!r}"
            )
        weights = parts[0]
        attention = DType.parse(attention_text) if plus else None
        wide = weights if weights in (DType.FP32, DType.FP16) else DType.BF16
        activations = parts[1] if len(parts) > 1 else (wide if weights is DType.INT4 else weights)
        return cls(weights, activations, parts[2] if len(parts) > 2 else wide, attention)

    @property
    def stored_attention(self) -> DType:
        """The format in which the attention matrices are stored."""
        return self.attention_weights or self.weights

    def __str__(self) -> str:
        attention = f"+{self.attention_weights.value}" if self.attention_weights else ""
        stored = f"{self.weights.value}{attention}"
        return f"{stored}/{self.activations.value}/{self.kv_cache.value}"
