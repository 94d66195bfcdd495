"""The one record that is trained on, logged and graded (`formats.md` §2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retrieval.records import ShopError

Role = Literal["user", "assistant", "tool"]
ACTS = ("recommend", "ask", "explain", "compare", "details", "cart", "remember", "forget", "chat", "decline")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call that the model asked for: a tool's name and its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; `items` are the ids shown with it, best first.

    An assistant message that calls tools has `tool_calls` and no content; the `tool` message after it holds
    the rows the model was shown; the assistant message after that holds the words the shopper read, with
    `evidence` (what the words may say), `acts` (what the reply did) and `usage` (calls, tokens, seconds).
    """

    role: Role
    content: str = ""
    items: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    acts: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)
    expect: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A talk of one shopper with the shop; `user_id` is None for a new shopper."""

    conversation_id: str
    messages: tuple[Message, ...]
    user_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def to_json(conversation: Conversation) -> dict[str, Any]:
    """Turn a conversation into the JSON object of `formats.md` §2, leaving empty fields out.

    An assistant message always has `items`, `tool_calls`, `evidence` and `usage`, so that a reader need not ask for them.
    """
    out: dict[str, Any] = {"conversation_id": conversation.conversation_id}
    if conversation.user_id is not None:
        out["user_id"] = conversation.user_id
    out["messages"] = [_message_to_json(message) for message in conversation.messages]
    if conversation.metadata:
        out["metadata"] = dict(conversation.metadata)
    return out


def _message_to_json(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    told = message.role == "assistant"
    if told or message.items:
        out["items"] = list(message.items)
    if told or message.tool_calls:
        out["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.acts:
        out["acts"] = list(message.acts)
    for name in ("evidence", "usage"):
        if told or getattr(message, name):
            out[name] = dict(getattr(message, name))
    if message.expect is not None:
        out["expect"] = dict(message.expect)
    return out


def from_json(record: Any, *, where: str = "conversation") -> Conversation:
    """Read one conversation; `where` names its place for the error message.

    Raises:
        ShopError: when a required field is missing or has the wrong type.
    """
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise ShopError(f'{where}: expected an object with "conversation_id" and a list "messages"')
    messages = tuple(
        _message_from_json(message, where=f"{where}, message {number}")
        for number, message in enumerate(record["messages"], start=1)
    )
    user_id = record.get("user_id")
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ShopError(f'{where}: "metadata" must be an object')
    return Conversation(
        conversation_id=str(record.get("conversation_id", where)),
        user_id=None if user_id is None else str(user_id),
        messages=messages,
        metadata=metadata,
    )


def _message_from_json(record: Any, *, where: str) -> Message:
    if not isinstance(record, dict) or record.get("role") not in ("user", "assistant", "tool"):
        raise ShopError(f'{where}: expected "role" to be user, assistant or tool')
    content = record.get("content")
    if content is not None and not isinstance(content, str):
        raise ShopError(f'{where}: "content" must be a string')
    calls = []
    for call in record.get("tool_calls") or []:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ShopError(f'{where}: each of "tool_calls" needs a "function" with a "name"')
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        calls.append(ToolCall(name=function["name"], arguments=arguments))
    expect = record.get("expect")
    if expect is not None and not isinstance(expect, dict):
        raise ShopError(f'{where}: "expect" must be an object')
    return Message(
        role=record["role"],
        content=content or "",
        items=tuple(str(item_id) for item_id in record.get("items") or ()),
        tool_calls=tuple(calls),
        acts=tuple(record.get("acts") or ()),
        evidence=record.get("evidence") or {},
        usage=record.get("usage") or {},
        expect=expect,
    )


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Read a JSON-lines file of conversations, one a line.

    Raises:
        ShopError: naming the file and the line that cannot be read.
    """
    if not path.is_file():
        raise ShopError(f"No conversations at {path}: expected a JSON-lines file, one conversation a line")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ShopError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from error
            yield from_json(record, where=f"{path}, line {number}")
