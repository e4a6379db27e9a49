"""The table in docs/catalogue-models.md is what the catalogue says; run this file to rewrite it."""

from pathlib import Path

from headway.model.catalogue import find_entry, find_model, find_precision, names

PAGE = Path(__file__).parents[2] / "docs" / "catalogue-models.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def table() -> str:
    """One row per model."""
    lines = [
        "| name | model | total | active | published | KV cache | context | as published |",
        "|---|---|--:|--:|---|--:|--:|---|",
    ]
    for name in names():
        model, entry = find_model(name), find_entry(name)
        published, total = entry.published, entry.published.total
        counts = [f"{total:,}" if isinstance(total, int) else total]
        if published.active is not None:
            counts.append(f"{published.active} active")
        context = model.max_context_tokens
        lines.append(
            f"| `{name}` | [{entry.title}]({entry.source_url}) | {model.total_params:,} "
            f"| {model.active_params:,} | [{', '.join(counts)}]({published.url}) "
            f"| {2 * model.kv_elements_per_token:,} | {f'{context:,}' if context else ''} "
            f"| {find_precision(name)} |"
        )
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """``page`` with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def test_the_page_shows_the_catalogue() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page


def test_the_counts_that_are_told_are_those_of_the_catalogue() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"({len(names())} models" in readme
    exact = [name for name in names() if isinstance(find_entry(name).published.total, int)]
    page = PAGE.read_text(encoding="utf-8")
    assert f"For {len(exact) - 3} of {len(names())} models the two are equal" in page
    assert f"For {len(names()) - len(exact)} models we have a rounded number" in page


def test_notes_are_told() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in names():
        note = find_entry(name).note
        assert note is None or note in page


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
