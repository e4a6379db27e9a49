"""From config.json to architecture: every family, and every way to be wrong."""

import json
from pathlib import Path

import pytest

from headway.errors import InputError, UnsupportedError
from headway.model.architecture import LayerGroup
from headway.model.attention import GroupedQueryAttention, LatentAttention, LinearAttention
from headway.model.catalogue import find_entry, find_model, names
from headway.model.ffn import DenseFfn, MoeFfn
from headway.model.huggingface.config import (
    architecture_from_config,
    language_part,
    load_config,
    read_config,
)

Config = dict[str, object]

LLAMA: Config = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 128,
}
MOE: Config = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "use_sliding_window": False,
}
MLA: Config = {
    **LLAMA,
    "model_type": "deepseek_v3",
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 40,
    "first_k_dense_replace": 2,
}


def windows(config: Config) -> list[int | None]:
    """The window of each layer, in the order of the groups."""
    by_layer: list[int | None] = []
    for group in architecture_from_config(config, "test").layers:
        assert isinstance(group.attention, GroupedQueryAttention)
        by_layer += [group.attention.window_tokens] * group.count
    return by_layer


def kinds(config: Config) -> dict[str, int]:
    """How many layers have a dense block, and how many experts."""
    counts = {"dense": 0, "moe": 0}
    for group in architecture_from_config(config, "test").layers:
        counts["moe" if isinstance(group.ffn, MoeFfn) else "dense"] += group.count
    return counts


def test_dense_model_counted_by_hand() -> None:
    """64 wide: q and o 64 x 64, k and v 64 x 16, three 64 x 96, 6 layers, two tables of 1000."""
    model = architecture_from_config(LLAMA, "test")
    assert model.layers == (
        LayerGroup(6, GroupedQueryAttention(8, 2, 8), DenseFfn(96), vector_params=128),
    )
    layer = 2 * 64 * 64 + 2 * 64 * 16 + 3 * 64 * 96
    assert model.total_params == 6 * (layer + 2 * 64) + 2 * 64_000 + 64
    assert model.active_params == 6 * layer + 64_000
    assert model.max_context_tokens == 128
    assert not model.tied_embeddings


def test_missing_kv_heads_are_one_per_head_where_the_family_says_so() -> None:
    config = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    assert architecture_from_config(config, "test").kv_elements_per_token == 6 * 2 * 64
    with pytest.raises(InputError, match="'num_key_value_heads' is missing"):
        architecture_from_config({**config, "model_type": "qwen2"}, "test")


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("llama-2-7b", 524_288),  # 2 x 32 layers x 32 heads x 128 x 2 bytes
        ("llama-3.1-8b", 131_072),  # 2 x 32 x 8 x 128 x 2
        ("llama-3-70b", 327_680),  # 2 x 80 x 8 x 128 x 2
        ("llama-3.1-405b", 516_096),  # 2 x 126 x 8 x 128 x 2
        ("deepseek-v3", 70_272),  # 61 x (512 + 64) x 2
        ("deepseek-v3.2", 85_888),  # and 61 x 128 of the indexer
        ("kimi-k2", 70_272),
        ("palm-540b", 120_832),  # 2 x 118 x 1 x 256 x 2
        ("qwen3-next-80b-a3b", 24_576),  # 2 x 12 x 2 x 256 x 2: every fourth layer has a cache
        ("qwen3.5-397b-a17b", 30_720),  # 2 x 15 x 2 x 256 x 2
        ("gpt-oss-120b", 73_728),  # 2 x 36 x 8 x 64 x 2
        ("minimax-m2.5", 253_952),  # 2 x 62 x 8 x 128 x 2
    ],
)
def test_kv_cache_in_16_bits_computed_by_hand(name: str, kv_bytes: int) -> None:
    assert find_model(name).kv_elements_per_token * 2 == kv_bytes


def test_windows_of_each_family() -> None:
    mistral = {**LLAMA, "model_type": "mistral"}
    assert windows({**mistral, "sliding_window": 32}) == [32] * 6
    assert windows({**mistral, "sliding_window": None}) == [None] * 6
    gemma2 = {**LLAMA, "model_type": "gemma2", "sliding_window": 32}
    assert windows(gemma2) == [32] * 3 + [None] * 3
    gemma3 = {**LLAMA, "model_type": "gemma3_text", "sliding_window": 32}
    assert windows(gemma3) == [32] * 5 + [None]
    assert windows({**gemma3, "sliding_window_pattern": 2}) == [32] * 3 + [None] * 3
    gpt_oss = {**LLAMA, "model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2}
    assert windows({**gpt_oss, "sliding_window": 32}) == [32] * 3 + [None] * 3
    llama4 = {
        **gpt_oss,
        "model_type": "llama4_text",
        "attention_chunk_size": 32,
        "interleave_moe_layer_step": 1,
    }
    assert windows(llama4) == [32] * 5 + [None]
    assert windows({**llama4, "no_rope_layers": [1, 0] * 3}) == [32] * 3 + [None] * 3


def test_layer_types_overrule_the_family() -> None:
    types = ["full_attention", *["sliding_attention"] * 5]
    gemma2 = {**LLAMA, "model_type": "gemma2", "sliding_window": 32, "layer_types": types}
    assert windows(gemma2) == [None] + [32] * 5


def test_qwen_windows_only_if_switched_on() -> None:
    qwen = {**LLAMA, "model_type": "qwen2", "sliding_window": 32, "max_window_layers": 2}
    assert windows({**qwen, "use_sliding_window": False}) == [None] * 6
    assert windows({**qwen, "use_sliding_window": True}) == [None] * 2 + [32] * 4


def test_a_family_with_a_window_by_default_must_state_it() -> None:
    with pytest.raises(InputError, match="'sliding_window' is missing"):
        architecture_from_config({**LLAMA, "model_type": "mistral"}, "test")


def test_experts_and_dense_layers() -> None:
    assert kinds(MOE) == {"dense": 0, "moe": 6}
    assert kinds({**MOE, "decoder_sparse_step": 2}) == {"dense": 3, "moe": 3}
    assert kinds({**MOE, "mlp_only_layers": [0, 5]}) == {"dense": 2, "moe": 4}
    assert kinds(MLA) == {"dense": 2, "moe": 4}
    assert kinds({**MLA, "moe_layer_freq": 2}) == {"dense": 4, "moe": 2}  # layers 2 and 4
    assert kinds({**MLA, "moe_layer_freq": [0, 1, 1, 1, 1, 1]}) == {"dense": 1, "moe": 5}
    assert kinds({**MLA, "mlp_layer_types": ["dense"] + ["sparse"] * 5}) == {"dense": 1, "moe": 5}


def test_maverick_interleaves_and_scout_does_not() -> None:
    assert [(g.count, type(g.ffn)) for g in find_model("llama-4-maverick").layers] == [
        (24, DenseFfn),
        (12, MoeFfn),
        (12, MoeFfn),
    ]
    assert all(isinstance(g.ffn, MoeFfn) for g in find_model("llama-4-scout").layers)


def test_latent_attention_with_and_without_compressed_queries() -> None:
    """h = 8 heads of 16 + 8 for keys and 12 for values, latent 32 + 8, queries from 24 or 64."""
    model = architecture_from_config(MLA, "test")
    attention = model.layers[0].attention
    assert isinstance(attention, LatentAttention)
    keys, up, out = 64 * 40, 32 * 8 * (16 + 12), 8 * 12 * 64
    assert attention.params(64) == 64 * 24 + 24 * 8 * 24 + keys + up + out
    plain = architecture_from_config({**MLA, "q_lora_rank": None}, "test").layers[0].attention
    assert plain.params(64) == 64 * 8 * 24 + keys + up + out
    assert plain.kv_elements_per_token == 40


def test_linear_attention_has_a_state_and_no_cache() -> None:
    model = find_model("qwen3-next-80b-a3b")
    assert [(g.count, type(g.attention)) for g in model.layers] == [
        (36, LinearAttention),
        (12, GroupedQueryAttention),
    ]
    assert model.state_elements == 36 * 32 * 128 * 128


def test_drafting_blocks() -> None:
    assert find_model("deepseek-v3").mtp_layers[0].ffn == MoeFfn(256, 8, 2048, 2048)
    assert len(find_model("minimax-m2.5").mtp_layers) == 3
    assert find_model("kimi-k2").mtp_layers == ()
    assert len(find_model("qwen3.5-397b-a17b").mtp_layers) == 1


def test_parallel_blocks_and_learned_positions() -> None:
    parallel = [name for name in names() if find_model(name).parallel_blocks]
    assert {find_entry(name).config["model_type"] for name in parallel} == {
        "falcon", "gptj", "gpt_neox", "palm", "phi", "cohere", "cohere2", "stablelm"
    }  # fmt: skip
    assert "stablelm-2-12b" in parallel
    assert "stablelm-2-1.6b" not in parallel

    positions = {name: find_model(name).learned_positions for name in names()}
    learned = {find_entry(name).config["model_type"] for name, count in positions.items() if count}
    assert learned == {"gpt2", "gpt_bigcode", "opt"}
    assert (positions["gpt-3"], positions["opt-66b"]) == (2048, 2050)


def test_gemma_4_has_fewer_and_wider_heads_where_it_sees_everything() -> None:
    """One projection makes keys and values there, which are cached apart."""
    groups = {
        group.attention.head_dim: (group.count, group.attention, group.ffn)
        for group in find_model("gemma-4-26b-a4b").layers
        if isinstance(group.attention, GroupedQueryAttention)
    }
    assert groups[256] == (25, GroupedQueryAttention(16, 8, 256, 1024), MoeFfn(128, 8, 704, 2112))
    count, wide, _ = groups[512]
    assert (count, wide) == (5, GroupedQueryAttention(16, 2, 512, shared_kv=True))
    assert (wide.kv_elements_per_token, wide.params(2816)) == (2048, 2816 * 512 * (16 + 2 + 16))


def test_particulars_of_families() -> None:
    exaone = {**LLAMA, "model_type": "exaone4", "sliding_window": 32}
    for pattern in ("LLG", 3):
        assert windows({**exaone, "sliding_window_pattern": pattern}) == [32] * 4 + [None] * 2
    ernie: Config = {
        **LLAMA, "model_type": "ernie4_5_moe", "moe_num_experts": 8, "moe_k": 2,
        "moe_num_shared_experts": 1, "moe_intermediate_size": 40, "moe_layer_interval": 1,
    }  # fmt: skip
    assert kinds({**ernie, "moe_layer_start_index": 1}) == {"dense": 1, "moe": 5}
    half = {"moe_layer_start_index": 0, "moe_layer_interval": 2, "moe_layer_end_index": 3}
    assert kinds({**ernie, **half}) == {"dense": 4, "moe": 2}
    assert find_model("qwen-7b").total_params == find_model("qwen1.5-7b").total_params
    assert find_model("dbrx").layers[0].ffn == MoeFfn(16, 4, 10752)


def test_a_block_without_attention_widens_the_block_before_it() -> None:
    model = find_model("llama-3.3-nemotron-super-49b")
    assert model.num_layers == 80 - 31
    widths = [group.ffn.intermediate_size for group in model.layers for _ in range(group.count)
              if isinstance(group.ffn, DenseFfn)]  # fmt: skip
    config = find_entry(model.name).config["block_configs"]
    assert isinstance(config, list)
    assert sum(widths) == sum(
        -(-int(2 * block["ffn"]["ffn_mult"] * 8192 / 3) // 256) * 256 for block in config
    )


NO_ATTENTION = {"attention": {"no_op": True}, "ffn": {"ffn_mult": 2.5}}
LINEAR = {"attention": {"replace_with_linear": True}, "ffn": {"ffn_mult": 2.5}}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llama-3.3-nemotron-super-49b", {"block_configs": [NO_ATTENTION] * 80}, "no attention"),
        ("llama-3.3-nemotron-super-49b", {"block_configs": [LINEAR] * 80}, "replace_with_linear"),
        ("llama-3.3-nemotron-super-49b", {"block_configs": [LINEAR]}, "must list 80 blocks"),
        ("hunyuan-a13b", {"moe_topk": [8, 4]}, "'moe_topk' must be one whole number"),
        ("hunyuan-a13b", {"use_cla": True}, "'use_cla' is only understood as False"),
        ("mpt-7b", {"attn_config": {"alibi": False}}, "only understood with alibi"),
        ("mpt-7b", {"attn_config": 8}, "'attn_config' must be an object"),
        ("gemma-4-31b", {"num_kv_shared_layers": 20}, "'num_kv_shared_layers'"),
        ("gemma-4-31b", {"hidden_size_per_layer_input": 256}, "'hidden_size_per_layer_input'"),
        ("exaone-4.0-32b", {"sliding_window_pattern": 1.5}, "must be a number or LLLG"),
        ("phi-3.5-moe", {"lm_head_bias": False}, "'lm_head_bias' is only understood as True"),
    ],
)
def test_what_a_family_does_not_count_is_refused(name: str, change: Config, message: str) -> None:
    config = language_part(find_entry(name).config)
    with pytest.raises((InputError, UnsupportedError), match=message):
        architecture_from_config({**config, **change}, name)


def test_wrapper_gives_its_language_part() -> None:
    inner = {k: v for k, v in LLAMA.items() if k != "tie_word_embeddings"}
    wrapper: Config = {
        "model_type": "some_vl",
        "text_config": inner,
        "vision_config": {"num_hidden_layers": 99},
        "tie_word_embeddings": True,
    }
    assert architecture_from_config(wrapper, "test").tied_embeddings
    assert architecture_from_config(wrapper, "test").num_layers == 6


def test_an_unknown_family_is_read_if_it_is_plainly_llama_like() -> None:
    config: Config = {**LLAMA, "model_type": "new_llama", "tie_word_embeddings": False}
    assert architecture_from_config(config, "test") == architecture_from_config(LLAMA, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_experts": 8}, "'num_experts'.*unknown model_type 'new'"),
        ({"sliding_window": 4096}, "'sliding_window'"),
        ({"kv_lora_rank": 512}, "'kv_lora_rank'"),
        ({"num_loops": 4}, "'num_loops'"),
        ({"multi_query": True}, "'multi_query'"),
        ({"ssm_state_size": 128}, "'ssm_state_size'"),
        ({"use_gated_mlp": False}, "'use_gated_mlp'"),
        ({"layer_types": ["mamba"] * 6}, "mamba"),
        ({"hidden_act": "relu2"}, "relu2"),
        ({"is_encoder_decoder": True}, "encoder"),
    ],
)
def test_unknown_fields_are_refused_by_name(change: Config, message: str) -> None:
    config = {**LLAMA, "model_type": "new", "tie_word_embeddings": False, **change}
    with pytest.raises(UnsupportedError, match=message):
        architecture_from_config(config, "test")


@pytest.mark.parametrize(
    "change",
    [
        {"bos_token_id": 1, "torch_dtype": "float16", "attention_dropout": 0.1},
        {"rope_scaling": {"factor": 8}, "rope_theta": 1e6, "layer_norm_eps": 1e-5},
        {"num_loops": None, "window_size": 0, "extra_heads": [], "attention_bias": True},
        {"some_switch": True, "initializer_range": 0.02},
    ],
)
def test_fields_without_effect_are_passed_over(change: Config) -> None:
    changed = architecture_from_config({**LLAMA, **change}, "test")
    plain = architecture_from_config(LLAMA, "test")
    assert changed.active_params == plain.active_params
    assert changed.kv_elements_per_token == plain.kv_elements_per_token


@pytest.mark.parametrize(
    ("model_type", "because"),
    [
        ("mamba", "Mamba of the first kind"),
        ("falcon_h1", "side by side"),
        ("t5", "one decoder"),
        ("deepseek_v4", "sparse attention"),
        ("mimo_v2_flash", "differ"),
    ],
)
def test_families_that_do_not_fit_are_refused_with_a_reason(model_type: str, because: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{model_type}.*{because}"):
        architecture_from_config({**LLAMA, "model_type": model_type}, "test")


@pytest.mark.parametrize("value", [0, -1, True, 64.0, "64", 1e18, 10**18, float("nan"), [], {}])
def test_sizes_must_be_whole_numbers_within_reason(value: object) -> None:
    with pytest.raises(InputError, match="'hidden_size' must be a whole number"):
        architecture_from_config({**LLAMA, "hidden_size": value}, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": None}, "'model_type' is missing"),
        ({"vocab_size": None}, "'vocab_size' is missing"),
        ({"num_hidden_layers": 10**6}, "'num_hidden_layers' must be"),
        ({"num_key_value_heads": 3}, r"num_attention_heads \(8\) must be a multiple"),
        ({"hidden_size": 63}, r"hidden_size \(63\) must be a multiple"),
        ({"tie_word_embeddings": "yes"}, "'tie_word_embeddings' must be true or false"),
        ({"layer_types": ["full_attention"]}, "'layer_types' must list 6 entries"),
        ({"layer_types": "full_attention"}, "'layer_types' must list 6 entries"),
    ],
)
def test_bad_llama_configs(change: Config, message: str) -> None:
    with pytest.raises(InputError, match=message):
        architecture_from_config({**LLAMA, **change}, "test")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("qwen3-30b-a3b", {"num_experts_per_tok": 129}, r"num_experts_per_tok \(129\) exceeds"),
        ("gpt-oss-20b", {"experts_per_token": 3}, "say different things"),
        ("opt-66b", {"word_embed_proj_dim": 512}, "word_embed_proj_dim"),
        ("opt-66b", {"do_layer_norm_before": False}, "do_layer_norm_before"),
        ("minimax-m2", {"attn_type_list": [0] * 62}, "lightning"),
        ("minimax-m2", {"num_mtp_modules": 10**6}, "too many"),
        ("deepseek-v3.2", {"index_n_heads": None}, "'index_n_heads' is missing"),
        ("deepseek-v3", {"moe_layer_freq": [1]}, "'moe_layer_freq' must list 61"),
        ("qwen3-next-80b-a3b", {"full_attention_interval": None}, "'full_attention_interval'"),
        ("falcon-180b", {"num_kv_heads": 7}, r"num_kv_heads \(7\) must divide"),
    ],
)
def test_real_configs_gone_wrong(name: str, change: Config, message: str) -> None:
    config = {**find_entry(name).config, **change}
    with pytest.raises(InputError, match=message):
        architecture_from_config(config, name)


def test_an_unknown_family_must_say_whether_tables_are_tied() -> None:
    with pytest.raises(InputError, match="'tie_word_embeddings' is missing"):
        architecture_from_config({**LLAMA, "model_type": "unheard-of"}, "test")


def test_read_config_takes_a_file_or_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert read_config(folder) == read_config(folder / "config.json")
    assert read_config(folder).name == "my-model"
    (tmp_path / "tiny.json").write_text(json.dumps(LLAMA))
    assert read_config(tmp_path / "tiny.json").name == "tiny"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not text in UTF-8; give a model's config.json"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b"[1, 2]", "must hold a JSON object"),
        (b"null", "must hold a JSON object"),
    ],
)
def test_files_that_hold_no_config(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_config(file)


def test_a_huge_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as stream:
        stream.truncate(100_000_000)  # sparse: takes no room on disk
    with pytest.raises(InputError, match="is larger than 10,000,000 bytes; is it a model's config"):
        load_config(file)


@pytest.mark.parametrize(
    "path", ["nowhere/config.json", "x" * 5_000, "null\0character.json", "", "/dev/zero"]
)
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(InputError):
        read_config(path)


def test_messages_are_one_line_however_wild_the_input() -> None:
    with pytest.raises(InputError) as caught:
        architecture_from_config({**LLAMA, "hidden_size": "\n" * 1_000}, "test")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
