"""Every setting, read from the environment once; the only reader of it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.limits import Limits
from retrieval.records import ShopError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "SHOPTALK_"
_LIMITS = Limits()


class Settings(BaseSettings):
    """What a person can set; a field `port` is the environment variable `SHOPTALK_PORT`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Field(Path(".shoptalk"), description="Folder for everything Shoptalk makes: shop, model, carts.")
    shop: Path | None = Field(None, description="Shop folder. Unset: `shop` in the home folder.")
    store: Path | None = Field(
        None, description="File of carts, memory and talks (SQLite). Unset: `store.sqlite` in the home folder."
    )

    model_url: str = Field(
        "", description="Address of an OpenAI-compatible server, ending in /v1. Unset: Shoptalk starts vLLM itself."
    )
    model_name: str = Field("", description="Name of the model on that server. Unset: the first one it serves.")
    model_key: str = Field("", description="Key for that server, where it wants one.", repr=False)
    base_model: Path | None = Field(
        None, description="Folder of the base model (safetensors). Unset: SmolLM2-135M-Instruct from its package."
    )
    adapter: Path | None = Field(
        None, description="Folder of the LoRA adapter. Unset: the one that comes with Shoptalk, for its own base."
    )
    serve: Literal["auto", "merged", "lora"] = Field(
        "auto",
        description="How vLLM gets the adapter: merged into the base, or beside it. auto: lora on a GPU, else merged.",
    )
    beside: str = Field(
        "",
        description="Folders of more LoRA adapters, separated by colons, for vLLM to serve beside the base and the adapter, "
        "each by its folder's name; not where adapters are merged.",
    )
    start_seconds: float = Field(
        300, gt=0, description="Give up when vLLM makes no progress in starting for this long."
    )

    host: str = Field("127.0.0.1", description="Address that the page listens on.")
    port: int = Field(7860, ge=1, le=65535, description="Port of the page.")
    turns_at_once: int = Field(8, ge=1, description="Turns of different shoppers worked on at the same time.")
    queue_length: int = Field(32, ge=1, description="Turns that may wait; one more is refused with a sentence.")

    message_chars: int = Field(
        _LIMITS.message_chars, ge=1, description="Characters of a message that are read; the rest is cut."
    )
    plan_tokens: int = Field(_LIMITS.plan_tokens, ge=16, description="Tokens the model may write for its tool calls.")
    answer_tokens: int = Field(_LIMITS.answer_tokens, ge=16, description="Tokens the model may write for its answer.")
    prompt_tokens: int = Field(
        _LIMITS.prompt_tokens, ge=256, description="Tokens of a prompt; older talk is left out past it."
    )
    model_calls: int = Field(_LIMITS.model_calls, ge=0, description="Model calls a turn.")
    tool_calls: int = Field(_LIMITS.tool_calls, ge=1, description="Tool calls a turn.")
    turn_seconds: float = Field(
        _LIMITS.turn_seconds, gt=0, description="Seconds a turn may take before plain reasons answer."
    )
    session_turns: int = Field(_LIMITS.session_turns, ge=1, description="Turns a session.")
    sessions: int = Field(_LIMITS.sessions, ge=1, description="Sessions open at once.")
    list_length: int = Field(_LIMITS.list_length, ge=1, le=10, description="Items a list shows.")
    adult_age: int = Field(
        _LIMITS.adult_age,
        ge=0,
        le=99,
        description="Age from which age-restricted goods are shown, where a shopper tells theirs.",
    )
    item_chars: int = Field(_LIMITS.item_chars, ge=20, description="Characters of an item's title that the model sees.")
    cart_items: int = Field(_LIMITS.cart_items, ge=1, description="Different items a cart holds.")
    cart_quantity: int = Field(_LIMITS.cart_quantity, ge=1, description="Pieces of one item a cart holds.")
    memories: int = Field(_LIMITS.memories, ge=1, description="Things remembered of one shopper.")
    free_words: bool = Field(
        _LIMITS.free_words,
        description="Let the model word answers freely, within the record: for larger models and servers other than vLLM.",
    )

    @property
    def adapters_beside(self) -> tuple[Path, ...]:
        """Give the folders of the adapters that are served beside the one that answers."""
        return tuple(Path(folder) for folder in self.beside.split(os.pathsep) if folder)

    @property
    def shop_folder(self) -> Path:
        """Give the shop folder."""
        return self.shop or self.home / "shop"

    @property
    def store_file(self) -> Path:
        """Give the file that keeps carts, memory and talks."""
        return self.store or self.home / "store.sqlite"

    @property
    def models_folder(self) -> Path:
        """Give the folder that the converted and merged models go to."""
        return self.home / "models"

    @property
    def limits(self) -> Limits:
        """Give the bounds of a turn, a session and the house."""
        return Limits(**{name: getattr(self, name) for name in Limits.__dataclass_fields__})


def read_settings(environment: Mapping[str, str] | None = None, **changes: Any) -> Settings:
    """Read the settings; `changes` (None: not given) come from the command line and win.

    Raises:
        ShopError: when a setting is unknown or its value cannot be used.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower()
        if name not in Settings.model_fields:
            close = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f" Did you mean {PREFIX}{close[0].upper()}?" if close else ""
            raise ShopError(f"Unknown setting {variable}.{hint} See them all with: shoptalk settings")
        if value.strip():
            given[name] = value.strip()
    given |= {name: value for name, value in changes.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise ShopError(
            f"Cannot use {PREFIX}{name.upper()}={given.get(name)!r}: {problem['msg']}. {_about(name)}"
        ) from error


def _about(name: str) -> str:
    field = Settings.model_fields.get(name)
    return (field.description or "") if field else ""


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    return "" if value is None or value == "" else str(value)


def settings_table() -> str:
    """Write the table of all settings for the README, in Markdown."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for name in Settings.model_fields:
        default = _default(name)
        lines.append(f"| `{PREFIX}{name.upper()}` | {f'`{default}`' if default else ''} | {_about(name)} |")
    return "\n".join(lines) + "\n"


def settings_rows(settings: Settings) -> list[tuple[str, str, bool, str]]:
    """List every setting as variable, value, whether it was changed, and what it is; keys are not shown."""
    rows = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        changed = value != Settings.model_fields[name].default
        shown = "(set)" if name == "model_key" and value else "" if value is None else str(value)
        rows.append((PREFIX + name.upper(), shown, changed, _about(name)))
    return rows
