"""`predict_length` reads texts and chats, and says why."""

from pathlib import Path

import pytest

from headway.errors import InputError
from headway.predict import TextPredictor, save
from headway.predict.answer import predict_length, prediction_report, reasons
from headway.predict.log import observation
from headway.predict.text import request_text

CHAT = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Name a synonym of iron."},
    {"role": "assistant", "content": "Metal."},
    {"role": "user", "content": "Write an essay about trains."},
]


def test_a_chat_is_predicted_as_it_is_learned(trained: TextPredictor) -> None:
    body = {"messages": CHAT, "model": "m"}
    line = observation({**body, "output_tokens": 300}, "line 1")
    live = predict_length(CHAT, model="m", predictor=trained)
    assert live == predict_length(line.prompt, model="m", predictor=trained)
    assert live == predict_length(request_text(body), model="m", predictor=trained)


def test_a_folder_is_a_predictor(trained: TextPredictor, tmp_path: Path) -> None:
    save(trained, tmp_path / "own", {})
    own = predict_length("Write an essay about tea.", predictor=tmp_path / "own")
    assert own == predict_length("Write an essay about tea.", predictor=trained)
    with pytest.raises(InputError, match="nowhere"):
        predict_length("Hello", predictor=tmp_path / "nowhere")


def test_tokens_that_are_written_and_the_limit_bound_it(trained: TextPredictor) -> None:
    prediction = predict_length(
        "Write an essay.", max_tokens=700, written_tokens=500, predictor=trained
    )
    assert 500 <= prediction.at(0.01) <= prediction.at(0.99) <= 700


def test_an_answer_names_the_words_that_moved_it(trained: TextPredictor) -> None:
    words = [reason.words for reason in reasons(trained, "Write an essay about snow.")]
    assert any("essay" in word or "write" in word for word in words)
    report = prediction_report("Write it in 50 words.", model="m", predictor=trained)
    assert "asks for about 68 tokens" in report.rows[0].why
    assert report.rows[0].model_known
