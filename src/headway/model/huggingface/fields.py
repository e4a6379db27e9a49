"""Reads a `config.json` field by field, and refuses by name what it does not understand."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headway.errors import InputError, UnsupportedError
from headway.user_file import excerpt

MAX_LAYERS = 10_000
MAX_SIZE = 100_000_000

# A field that nobody read is refused if its name hints at work or at memory ...
_HINT = re.compile(
    r"layer|head|dim|expert|size|rank|window|hidden|conv|state|ssm|mamba|mtp|nextn|predict|loop"
    r"|intermediate|inner|ffn|mlp|moe|attn|attention|kv|block|embed|width|depth|pattern|interval"
    r"|share|sparse|index|recur|repeat|glu|gate|compress|chunk|skip|hash|memory|channel|ratio"
    r"|step|freq|parallel|query|mla|^num_|^n_|_num$"
)
# ... unless it is known to leave both as they are.
_NO_MATTER = re.compile(
    r"""
      token_id | token_index | token_idx | ^id2label$ | ^label2id$ | ^num_labels$
    | (^|_)bias(_|$)  # counted where a family is known to have them; they are a few parts in 10^5
    | dropout | pdrop$ | ^layerdrop$ | initializer | ^init_ | _eps(ilon)?$ | _loss_ | _loss$
    | ^rope | _rope_ | ^rotary | ^partial_rotary_factor$ | ^original_max_position_embeddings$
    | ^(hidden_act | hidden_activation | activation_function | swiglu_alpha | swiglu_limit)$
    | ^(attn_scale | attn_temperature_tuning | attn_logit_softcapping | query_pre_attn_scalar
       | attention_multiplier | embedding_multiplier | residual_multiplier | attention_value_scale
       | scale_attn_weights | scale_attn_by_inverse_layer_idx | reorder_and_upcast_attn
       | attention_softmax_in_fp32 | scale_attention_softmax_in_fp32)$
    | ^(n_group | topk_group | num_expert_group | moe_router_dtype | moe_renormalize
       | moe_router_activation_func | moe_router_scaling_factor)$
    | ^(output | return | summary | vision | audio)_ | ^use_cache$ | ^_?attn_implementation
    | ^num_(beams | beam_groups | return_sequences | logits_to_keep)$ | ^chunk_size_feed_forward$
    | ^(add_cross_attention | cross_attention_hidden_size | pruned_heads | tie_encoder_decoder
       | is_decoder | is_encoder_decoder | ep_size | n_special | predict_special_tokens)$
    """,
    re.VERBOSE,
)


class Fields:
    """The fields of one configuration, which remembers which of them were read.

    ``common_names`` maps a family's own keys to the common vocabulary, ``defaults`` fills what a
    family leaves out of its files.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        common_names: Mapping[str, str],
        defaults: Mapping[str, object],
    ) -> None:
        self.name = name
        self._values: dict[str, object] = dict(defaults)
        self._own_names: dict[str, str] = {}
        self._keys_read: set[str] = set()

        for key, value in config.items():
            # Two keys of a family may stand for one field, and must then agree.
            common = common_names.get(key, key)
            other_key = self._own_names.get(common)
            if other_key is not None and value is not None:
                other_value = config[other_key]
                if other_value is not None and other_value != value:
                    raise self.error(f"{other_key!r} and {key!r} say different things")

            if value is not None or common not in self._values:
                self._values[common] = value
                self._own_names[common] = key

    def error(self, text: str) -> InputError:
        """Return an `InputError` that says whose configuration is meant."""
        return InputError(f"config.json of {self.name}: {text}")

    def unsupported(self, text: str) -> UnsupportedError:
        """Return an `UnsupportedError` that says whose configuration is meant."""
        return UnsupportedError(f"config.json of {self.name}: {text}")

    def has(self, key: str) -> bool:
        """Whether ``key`` is given and not null."""
        return self._values.get(key) is not None

    def has_key(self, key: str) -> bool:
        """Whether ``key`` is given, be it as null."""
        return key in self._values

    def raw(self, key: str) -> object:
        """Return the value of ``key``, marked as read, or ``None``."""
        self._keys_read.add(key)
        return self._values.get(key)

    def size(self, key: str, minimum: int = 1, maximum: int = MAX_SIZE) -> int:
        """Return the whole number at ``key``; raise if it is missing or out of range."""
        value = self.raw(key)
        if value is None:
            raise self.error(f"{self._own(key)} is missing")

        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not isinstance(value, int) or not is_whole or not minimum <= value <= maximum:
            raise self.error(
                f"{self._own(key)} must be a whole number from {minimum} to {maximum}, "
                f"not {excerpt(value)}"
            )
        return value

    def size_or(self, key: str, default: int, minimum: int = 1) -> int:
        """Return the whole number at ``key``, or ``default`` where it is missing or null."""
        return self.size(key, minimum) if self.raw(key) is not None else default

    def size_or_none(self, key: str) -> int | None:
        """Return the whole number at ``key``, or ``None`` where it is missing or null."""
        return self.size(key) if self.raw(key) is not None else None

    def part(self, key: str) -> Fields:
        """Return the fields of the object at ``key``."""
        return self._part(key, self.raw(key))

    def parts(self, key: str) -> list[Fields]:
        """Return the fields of each object listed at ``key``."""
        values = self.raw(key)
        return [self._part(key, value) for value in (values if isinstance(values, list) else ())]

    def same_everywhere(self, key: str) -> int:
        """Return the whole number at ``key``, which may be listed once per layer."""
        value = self.raw(key)
        if isinstance(value, list) and len(set(map(str, value))) == 1:
            value = value[0]
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise self.unsupported(
                f"{self._own(key)} must be one whole number for all layers, not {excerpt(value)}"
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return the truth value at ``key``, or ``default`` where it is missing or null."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(f"{self._own(key)} must be true or false, not {excerpt(value)}")
        return value

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return the whole numbers listed at ``key``; none where it is missing or null."""
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise self.error(f"{self._own(key)} must list whole numbers, not {excerpt(value)}")
        return tuple(value)

    def per_layer(self, key: str, num_layers: int, *kinds: str) -> tuple[str, ...] | None:
        """Return the words at ``key``, one per layer and each among ``kinds``, or ``None``."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != num_layers:
            raise self.error(
                f"{self._own(key)} must list {num_layers} entries, one per layer, "
                f"not {excerpt(value)}"
            )

        for item in value:
            if item not in kinds:
                raise self.unsupported(
                    f"{self._own(key)} has {excerpt(item)}, and only {', '.join(kinds)} are counted"
                )
        return tuple(str(item) for item in value)

    def refuse_unread(self, owner: str) -> None:
        """Raise `UnsupportedError` for a field of ``owner`` that nobody read but may matter."""
        for common, value in self._values.items():
            key = self._own_names.get(common, common)
            if common in self._keys_read or _is_off(value):
                continue
            if _HINT.search(key) and not _NO_MATTER.search(key):
                raise self.unsupported(
                    f"the field {key!r} ({excerpt(value)}) of {owner} is not understood, and it "
                    f"may change the work"
                )

    def _part(self, key: str, value: object) -> Fields:
        if not isinstance(value, dict):
            raise self.error(f"{self._own(key)} must be an object, not {excerpt(value)}")
        return Fields(value, self.name, {}, {})

    def _own(self, key: str) -> str:
        return repr(self._own_names.get(key, key))


def _is_off(value: object) -> bool:
    # False is not "off": a flag that is false may well switch off what a family has by default.
    return value is None or value == [] or value == {} or (value == 0 and value is not False)
