"""Settings: each one documented, read once, and refused in a sentence when it cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.limits import Limits
from retrieval.records import ShopError
from ui.settings import PREFIX, Settings, read_settings, settings_rows, settings_table


def test_every_setting_is_documented() -> None:
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert f"| `{PREFIX}{name.upper()}` |" in table
        assert field.description in table


def test_every_limit_is_a_setting_with_the_same_default() -> None:
    assert read_settings({}).limits == Limits()


def test_limits_follow_the_settings() -> None:
    limits = read_settings({"SHOPTALK_LIST_LENGTH": "3", "SHOPTALK_TURN_SECONDS": "7.5"}).limits
    assert (limits.list_length, limits.turn_seconds) == (3, 7.5)


def test_everything_lives_in_the_home_folder_unless_told_otherwise() -> None:
    settings = read_settings({"SHOPTALK_HOME": "here", "SHOPTALK_SHOP": "there"})
    assert (settings.shop_folder, settings.store_file) == (Path("there"), Path("here/store.sqlite"))
    assert settings.models_folder == Path("here/models")


def test_the_command_line_wins_over_the_environment() -> None:
    assert read_settings({"SHOPTALK_PORT": "1"}, port=2, host=None).port == 2


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SHOPTALK_PORT": "seven"}, "Cannot use SHOPTALK_PORT='seven'.*Port of the page"),
        ({"SHOPTALK_PORT": "99999"}, "Cannot use SHOPTALK_PORT='99999'"),
        ({"SHOPTALK_SERVE": "fast"}, "Cannot use SHOPTALK_SERVE='fast'"),
        ({"SHOPTALK_MODELURL": "x"}, r"Unknown setting SHOPTALK_MODELURL. Did you mean SHOPTALK_MODEL_URL\?"),
        ({"SHOPTALK_LIST_LENGTH": "0"}, "Cannot use SHOPTALK_LIST_LENGTH='0'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_name(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ShopError, match=sentence):
        read_settings(environment)


def test_keys_are_not_printed() -> None:
    rows = settings_rows(read_settings({"SHOPTALK_MODEL_KEY": "sk-secret"}))
    assert "sk-secret" not in repr(rows)
    assert ("SHOPTALK_MODEL_KEY", "(set)", True) in [row[:3] for row in rows]


def test_nothing_else_reads_the_environment() -> None:
    root = Path(__file__).parents[1]
    readers = [
        path.relative_to(root).as_posix()
        for package in ("agent", "eval", "finetune", "retrieval", "ui")
        for path in (root / package).rglob("*.py")
        if re.search(r"os\.environ\b|os\.getenv|environb", path.read_text(encoding="utf-8"))
    ]
    # The environment's own setup runs before there is anything to import.
    assert set(readers) <= {"ui/settings.py", "ui/setup_environment.py"}
