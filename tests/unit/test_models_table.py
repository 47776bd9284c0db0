"""The table of sources in the documentation: every cell of it is run."""

from __future__ import annotations

from pathlib import Path

from model_sources import table

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_table_is_what_the_models_do() -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- run: tests/unit/model_sources.py -->\n")
    assert rest.partition("<!-- end -->")[0].strip() == table().strip()
