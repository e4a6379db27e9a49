"""Whatever JSON goes in, a model or one of Headway's own errors comes out."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_entry, names
from headway.model.huggingface.config import architecture_from_config
from headway.model.huggingface.families import FAMILIES
from headway.model.huggingface.quantization import native_precision

SEEDS = [dict(find_entry(name).config) for name in names()]
FIELDS = sorted({key for config in SEEDS for key in config} | {"layer_types", "text_config"})

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=12), inner, max_size=5)
    ),
    max_leaves=10,
)
small = st.integers(-1, 70) | st.booleans() | st.none() | st.lists(st.integers(0, 2), max_size=8)


def check(config: dict[str, object]) -> None:
    with suppress(HeadwayError):
        model = architecture_from_config(config, "fuzz")
        assert isinstance(model, ModelArchitecture)
        assert model.total_params >= 0
        assert model.active_params > 0
    with suppress(HeadwayError):
        native_precision(config)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=20), anything, max_size=20))
@settings(max_examples=100)
def test_any_object(config: dict[str, object]) -> None:
    check(config)


@given(
    st.sampled_from(SEEDS),
    st.dictionaries(st.sampled_from(FIELDS), anything | small, max_size=4),
    st.sets(st.sampled_from(FIELDS), max_size=3),
    st.sampled_from([None, *sorted(FAMILIES)]),
)
@settings(max_examples=100)
def test_a_real_config_with_fields_changed_and_missing(
    seed: dict[str, object], changed: dict[str, object], missing: set[str], family: str | None
) -> None:
    config = {k: v for k, v in {**seed, **changed}.items() if k not in missing}
    if family is not None:
        config["model_type"] = family
    check(config)


@given(st.dictionaries(st.text(max_size=20), anything, max_size=6), st.sampled_from(SEEDS))
@settings(max_examples=100)
def test_any_quantization(quantization: dict[str, object], seed: dict[str, object]) -> None:
    check({**seed, "quantization_config": quantization})
