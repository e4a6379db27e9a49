"""The catalogue: names, aliases, paths, and the sources beside its numbers."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError, UnknownNameError
from headway.model import catalogue
from headway.model.catalogue import find_entry, find_model, find_precision, names

REQUIRED = """
    gpt-3 opt-66b gpt-j-6b gpt-neox-20b bloom-176b palm-540b falcon-180b phi-4
    llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b llama-3.1-8b llama-3.1-70b
    llama-3.1-405b llama-3.2-1b llama-3.2-3b llama-3.3-70b llama-4-scout llama-4-maverick
    mistral-7b mistral-large-2 mixtral-8x7b mixtral-8x22b gemma-2-9b gemma-2-27b gemma-3-4b
    gemma-3-12b gemma-3-27b qwen2.5-0.5b qwen2.5-7b qwen2.5-14b qwen2.5-32b qwen2.5-72b qwen3-8b
    qwen3-14b qwen3-32b qwen3-30b-a3b qwen3-235b-a22b qwen3-next-80b-a3b qwen3.5-397b-a17b
    deepseek-v3 deepseek-r1 deepseek-v3.2 kimi-k2 minimax-m2 minimax-m2.5 glm-4.5 glm-4.6 glm-5
    gpt-oss-20b gpt-oss-120b
"""


def test_what_must_be_there_is_there() -> None:
    assert set(REQUIRED.split()) <= set(names())
    assert list(names()) == sorted(names())


@pytest.mark.parametrize("name", names())
def test_every_entry_loads_and_cites(name: str) -> None:
    entry = find_entry(name)
    assert entry.name == name
    assert entry.title
    assert find_model(name).name == name
    assert find_precision(name).weights.bits > 0
    assert entry.source_url.startswith("https://")
    assert entry.published.url.startswith("https://")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry.source_date)
    assert entry.published.total_counts
    assert (entry.published.active is None) or entry.published.active_counts


def test_other_names_are_of_entries() -> None:
    other_names = Path(catalogue.__file__).with_name("other_names.json")
    assert set(json.loads(other_names.read_text(encoding="utf-8"))) <= set(names())


def test_aliases_are_lower_case_and_mean_one_model() -> None:
    aliases = [alias for name in names() for alias in find_entry(name).aliases]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(names())
    assert all(alias == alias.lower() and "_" not in alias for alias in aliases)
    assert all(find_entry(alias).aliases.count(alias) == 1 for alias in aliases)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama-3.1-70b", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b"),
        ("LLAMA-3.1-70B", "llama-3.1-70b"),
        ("opt_66b", "opt-66b"),
        ("EleutherAI/gpt-j-6b", "gpt-j-6b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"),
        (" gpt-3-175b ", "gpt-3"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1"),
        ("bigscience/bloom", "bloom-176b"),
        ("Llama 3.1 70B Instruct", "llama-3.1-70b"),
        ("Llama 3.1 Instruct 70B", "llama-3.1-70b"),
        ("llama3.1:70b-instruct-q4_K_M", "llama-3.1-70b"),
        ("llama-3-1-70b-instruct", "llama-3.1-70b"),
        ("NousResearch/Meta-Llama-3-70B-Instruct", "llama-3-70b"),
        ("meta-llama--Meta-Llama-3.1-8B", "llama-3.1-8b"),
        ("DeepSeek R1 0528", "deepseek-r1"),
        ("DeepSeek-V3-1", "deepseek-v3"),
        ("gpt-oss-120B (high)", "gpt-oss-120b"),
        ("Qwen3 235B A22B Instruct 2507", "qwen3-235b-a22b"),
        ("qwen2_5_72b_instruct", "qwen2.5-72b"),
        ("Meta-Llama-3.1-8B-Instruct.Q4_K_M.gguf", "llama-3.1-8b"),
        ("llama 8B Q4_K - Medium", "llama-3.1-8b"),
        ("llama2-70b-99.9", "llama-2-70b"),
        ("llama2-70b-interactive-99", "llama-2-70b"),
        ("llama3_1-405b", "llama-3.1-405b"),
        ("gptj-99", "gpt-j-6b"),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", "llama-3.3-nemotron-super-49b"),
        ("stabilityai/stablelm-2-1_6b", "stablelm-2-1.6b"),
        ("gpt2", "gpt2-124m"),
        ("meta-llama/Llama-7b (v1/v2 unspecified)", "llama-7b"),
    ],
)
def test_names_aliases_and_hugging_face_ids(text: str, name: str) -> None:
    assert find_model(text).name == name


EVERY_NAME = [(name, name) for name in names()] + [
    (alias, name) for name in names() for alias in find_entry(name).aliases
]
SPELLINGS = [
    str,
    str.upper,
    lambda text: text.replace("-", " "),
    lambda text: text.replace("-", "_"),
    lambda text: f"some-publisher/{text}",
    lambda text: f"({text})".strip("()") + " (think)",
]


def test_every_name_means_one_model_in_its_normal_form() -> None:
    """A dash more or less, as in llama3.1-70b, must not lead to another model."""
    forms = {alias.replace("-", ""): name for alias, name in EVERY_NAME}
    assert {form: find_model(form).name for form in forms} == forms


@given(
    st.sampled_from(EVERY_NAME),
    st.sampled_from(SPELLINGS),
    st.sampled_from(["", "-Instruct", "-FP8-dynamic", "-AWQ", "-it-Q4_K_M-GGUF", "-hf-w4a16"]),
)
def test_every_spelling_of_every_alias_finds_its_own_entry(
    names: tuple[str, str], spelling: Callable[[str], str], ending: str
) -> None:
    alias, name = names
    assert find_entry(spelling(alias + ending)).name == name


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"llama-3\.1-70b") as caught:
        find_model("llama-3.1-70")
    assert "llama-3.1-70b" in caught.value.nearest
    with pytest.raises(UnknownNameError, match=r"llama-3\.1-70b or .* or ") as caught:
        find_model("meta-llama/Meta_Llama_3.1_90B_Instruct_Chat")
    assert len(caught.value.nearest) == 3
    for text in ("", "a/b", "x" * 10_000, "null\0character", "../../etc/passwd-not-there"):
        with pytest.raises(UnknownNameError):
            find_model(text)


def test_a_path_is_read_and_a_name_wins_over_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {**find_entry("llama-3.2-1b").config, "num_hidden_layers": 3}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    for path in ("mine", "./mine", str(folder), "mine/config.json"):
        assert find_model(path).num_layers == 3
        assert str(find_precision(path)) == "bf16/bf16/bf16"
    (tmp_path / "phi-4").mkdir()
    assert find_model("phi-4").num_layers == 40
    with pytest.raises(InputError, match=r"there is no file .nowhere\.json"):
        find_model("nowhere.json")


@pytest.mark.parametrize(
    ("text", "name", "precision"),
    [
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.3-70b", "fp8/fp8/bf16"),
        ("amd/Llama-3.1-70B-Instruct-FP8-KV", "llama-3.1-70b", "fp8/fp8/fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "llama-3.3-70b", "nvfp4/nvfp4/bf16"),
        ("nvidia/DeepSeek-R1-0528-NVFP4", "deepseek-r1", "nvfp4/nvfp4/bf16"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "qwen2.5-72b", "int4/bf16/bf16"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "qwen2.5-7b", "int4/bf16/bf16"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "qwen2.5-7b", "int8/bf16/bf16"),
        ("RedHatAI/Qwen3-32B-quantized.w4a16", "qwen3-32b", "int4/bf16/bf16"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "llama-3.1-8b", "int8/int8/bf16"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama-3.3-70b", "bf16/bf16/bf16"),
        ("google/gemma-2-9b-it", "gemma-2-9b", "bf16/bf16/bf16"),
        ("google/gemma-3-27b-it-qat-q4_0-gguf", "gemma-3-27b", "int4/bf16/bf16"),
        ("lmstudio-community/Qwen3-14B-MLX-4bit", "qwen3-14b", "int4/bf16/bf16"),
        ("bartowski/Qwen3-14B-GGUF:Q4_K_M", "qwen3-14b", "int4/bf16/bf16"),
        ("ggml-org/Qwen3-8B-Q8_0-GGUF", "qwen3-8b", "int8/bf16/bf16"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "qwen3-8b", "int4/bf16/bf16"),
        ("TheBloke/Llama-2-70B-Chat-GPTQ-4bit-128g", "llama-2-70b", "int4/bf16/bf16"),
        ("amd/Llama-3.3-70B-Instruct-MXFP4-Preview", "llama-3.3-70b", "mxfp4/mxfp4/bf16"),
        ("Llama 3.1 8B Instruct FP8", "llama-3.1-8b", "fp8/fp8/bf16"),
        ("ISTA-DASLab/gemma-3-27b-it-GPTQ-4b-128g", "gemma-3-27b", "int4/bf16/bf16"),
        ("Llama-2-70b-chat-hf-WMXFP4-AMXFP4-KVFP8-Scale", "llama-2-70b", "mxfp4/mxfp4/fp8"),
    ],
)
def test_hub_names_give_model_and_precision(text: str, name: str, precision: str) -> None:
    assert find_model(text).name == name
    assert str(find_precision(text)) == precision


def test_files_of_several_formats_want_one_named() -> None:
    assert find_model("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF").name == "llama-3.1-8b"
    for text in ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "llama3.1:8b-instruct-q5_K_M"):
        with pytest.raises(InputError, match="say which with --precision"):
            find_precision(text)
    assert str(find_precision("Qwen/Qwen3-8B-GGUF", "int4/bf16")) == "int4/bf16/bf16"


def test_a_precision_that_is_given_counts_before_the_published_one() -> None:
    assert str(find_precision("Qwen/Qwen3-8B-FP8", "int4")) == "int4/bf16/bf16"


def test_a_configuration_may_be_given_as_it_is(tmp_path: Path) -> None:
    config = find_entry("llama-3.2-1b").config
    assert find_model(config).total_params == find_model("llama-3.2-1b").total_params
    assert find_model({**config, "_name_or_path": "mine"}).name == "mine"
    assert str(find_precision(config)) == "bf16/bf16/bf16"

    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_model(tmp_path).num_layers == 16
