import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headway.errors import InputError
from headway.predict import Observation, TextPredictor, load, save
from headway.predict.storage import CARD, MAX_UNPACKED_BYTES, WEIGHTS, read_card

MadeUp = Callable[..., list[Observation]]


@pytest.fixture(scope="module")
def saved(trained: TextPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "predictor"
    save(trained, folder, {"data": "made up"})
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of what was saved, to be damaged."""
    return shutil.copytree(saved, tmp_path / "predictor")


def test_what_was_saved_predicts_the_same(
    folder: Path, trained: TextPredictor, made_up: MadeUp
) -> None:
    asked = [o.request(i) for i, o in enumerate(made_up(30, seed=11))]
    again = load(folder)
    assert again.predict(asked) == trained.predict(asked)
    assert read_card(folder)["card"] == {"data": "made up"}


def test_what_was_learned_online_is_kept(folder: Path, made_up: MadeUp, tmp_path: Path) -> None:
    predictor = load(folder)
    for i, o in enumerate(made_up(30, seed=12, model="other", factor=3.0)):
        request = Observation(o.prompt, 0, "other", "tenant").request(i)
        predictor.observe(request, o.output_tokens)
    save(predictor, tmp_path / "later", {})
    asked = [Observation("Write an essay", 0, "other", "tenant").request(0)]
    later = load(tmp_path / "later")
    assert later.predict(asked) == predictor.predict(asked)
    np.testing.assert_array_equal(later.state.words.variance, predictor.state.words.variance)


def test_a_folder_is_small_and_holds_nothing_else(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {CARD, WEIGHTS}
    assert sum(p.stat().st_size for p in folder.iterdir()) < 4_000_000


def test_a_predictor_is_replaced_whole(folder: Path, trained: TextPredictor) -> None:
    save(trained, folder, {"data": "newer"})
    assert read_card(folder)["card"] == {"data": "newer"}
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_predictor_is_not_overwritten(trained: TextPredictor, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no predictor"):
        save(trained, tmp_path, {})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / WEIGHTS) as stored:
        return {name: stored[name] for name in stored.files}


class Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("exploited"),))


@pytest.mark.parametrize("name", ["coef", "trees_columns", "model_levels"])
def test_pickles_are_refused(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    forged: dict[str, np.ndarray] = arrays(folder)
    forged[name] = np.array([Exploit()], dtype=object)
    np.savez(folder / WEIGHTS, **forged)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"cannot read|damaged"):
        load(folder)
    assert not Path("exploited").exists()


def test_a_pickle_for_a_file_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match="cannot read"):
        load(folder)


def test_what_unpacks_to_too_much_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / WEIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("coef.npy", b"\0" * (MAX_UNPACKED_BYTES + 1))
    with pytest.raises(InputError, match="unpacks to more"):
        load(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
@pytest.mark.parametrize("garbage", [b"", b"\0\xff" * 500, b"[1, 2]", b"[" * 100_000])
def test_garbage_is_refused(folder: Path, name: str, garbage: bytes) -> None:
    (folder / name).write_bytes(garbage)
    with pytest.raises(InputError):
        load(folder)


@pytest.mark.parametrize("keep", [10, 1000, 20_000])
def test_half_a_file_is_refused(folder: Path, keep: int) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: min(keep, len(whole) - 1)])
    with pytest.raises(InputError, match="cannot read"):
        load(folder)


FORGERIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "trees_columns": lambda a: a + np.int16(9999),
    "trees_cuts": lambda a: a * np.float32(np.nan),
    "trees_leaves": lambda a: a[:, :-1],
    "spread_leaves": lambda a: a * np.float32(np.inf),
    "coef": lambda a: a[:-1],
    "intercept": lambda a: a * np.nan,
    "table_at": lambda a: a[::-1].copy(),
    "table": lambda a: -a,
    "scale": lambda a: a * 0,
    "model_means": lambda a: np.concatenate([a, a]),
    "model_levels": lambda a: np.full_like(a, 7.0),
    "tenant_counts": lambda a: np.array([1.0]),
    "prior": lambda a: -a,
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_forged_arrays_are_refused(folder: Path, name: str) -> None:
    forged = arrays(folder)
    forged[name] = FORGERIES[name](forged[name])
    np.savez(folder / WEIGHTS, **forged)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        load(folder)


@pytest.mark.parametrize("name", ["coef", "trees_start", "model_seen"])
def test_a_missing_array_is_named(folder: Path, name: str) -> None:
    forged = arrays(folder)
    del forged[name]
    np.savez(folder / WEIGHTS, **forged)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=name):
        load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("effects", {"m": "large"}), ("effects", []), ("models", [3]), ("tenants", [["m"]]),
     ("features", []), ("models", ["a"] * 500)],
)  # fmt: skip
def test_forged_names_are_refused(folder: Path, key: str, value: object) -> None:
    stored = json.loads((folder / CARD).read_text())
    stored["names"][key] = value
    (folder / CARD).write_text(json.dumps(stored))
    with pytest.raises(InputError):
        load(folder)


def test_another_version_is_named(folder: Path) -> None:
    stored = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(stored | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        load(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load(tmp_path / "nowhere")
