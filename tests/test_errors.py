"""A missing extra says which command installs it, before anything that needs it is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.errors import MissingError, MissingExtraError, MissingServerError, need, reason


def test_a_missing_module_names_the_command() -> None:
    need("json", "reading", "nothing")
    with pytest.raises(MissingExtraError, match=r"pip install 'headway\[serve\]'"):
        need("no_such_module", "the gateway", "serve")


def test_a_missing_server_says_where_it_should_be() -> None:
    error = MissingServerError("the load generator", "http://localhost:1", "connection refused")
    assert isinstance(error, MissingError)
    assert str(error) == (
        "the load generator needs a server at http://localhost:1, which does not answer: "
        "connection refused"
    )


def test_the_reason_of_a_failed_read_is_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        (tmp_path / "none").read_text()
    assert reason(caught.value) == "No such file or directory"
    assert reason(ValueError("not a number")) == "not a number"
