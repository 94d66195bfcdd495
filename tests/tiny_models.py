"""Causal models of three architectures, small enough to train in a test, with real tokenizers and chat templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.conversation import Conversation, Message, ToolCall

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% set first = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{% set talk = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% for m in talk %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ first if loop.first else '' }}{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
ARCHITECTURES = ("llama", "qwen2", "gemma3")


def write_tiny_model(folder: Path, architecture: str = "llama", *, template: str | None = None) -> Path:
    """Write a random model of `architecture`, one of `ARCHITECTURES`, as a folder that transformers can open."""
    import torch
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    tokenizer = _tokenizer(gemma=architecture == "gemma3")
    tokenizer.chat_template = template or (GEMMA if architecture == "gemma3" else CHATML)
    sizes: dict[str, Any] = {**SIZES, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(7)
    model: Any
    if architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))
    elif architecture == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    else:
        model = Gemma3ForCausalLM(
            Gemma3TextConfig(
                **sizes, head_dim=8, sliding_window=24, layer_types=["sliding_attention", "full_attention"]
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(*, gemma: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = (
        ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"] if gemma else ["<|im_start|>", "<|im_end|>", "<pad>"]
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [RULES, *(message["content"] for number in range(20) for message in render(talk(number).messages))]
    tokenizer.train_from_iterator(
        texts * 3,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if gemma:
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", additional_special_tokens=special[2:]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<pad>", additional_special_tokens=special[:1]
    )


RULES = "You help a shopper in one shop. First a plan: JSON with tool calls. Then an answer in one to three sentences."


def render(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Turn a talk into chat messages as serving does, with shorter rules."""
    out = [{"role": "system", "content": RULES}]
    for message in messages:
        if message.role == "tool":
            out.append({"role": "user", "content": "[results]\n" + message.content})
        elif message.tool_calls:
            calls = [{"tool": call.name, **call.arguments} for call in message.tool_calls]
            out.append({"role": "assistant", "content": json.dumps({"calls": calls})})
        else:
            out.append({"role": message.role, "content": message.content})
    return out


THINGS = ("milk", "cat food", "bananas", "bread", "cheese", "soda", "coffee", "bacon")


def talk(number: int) -> Conversation:
    """Make up a conversation of one to three turns, each a plan, its results and an answer."""
    messages: list[Message] = []
    for turn in range(1 + number % 3):
        thing = THINGS[(number + 3 * turn) % len(THINGS)]
        bound = 1 + (number + turn) % 7
        messages += [
            Message(role="user", content=f"some {thing} please, under {bound} dollars"),
            Message(
                role="assistant",
                tool_calls=(ToolCall(name="search_catalog", arguments={"query": thing, "max_price": bound}),),
            ),
            Message(role="tool", content=f"1 {thing}, store brand, ${bound - 0.5}\n2 {thing}, ${bound}"),
            Message(role="assistant", content=f"[1] is the cheapest {thing}. You buy [2] often."),
        ]
    return Conversation(conversation_id=f"c{number}", messages=tuple(messages))


def branched(conversation: Conversation, *, at: int | None = None) -> Conversation:
    """Go on from a talk's message `at` (its end if left out) with one more need, of which the plan alone is learned."""
    before = conversation.messages[:at]
    messages = (
        *before,
        Message(role="user", content="and now tea"),
        Message(role="assistant", tool_calls=(ToolCall(name="search_catalog", arguments={"query": "tea"}),)),
    )
    return Conversation(
        conversation_id=f"{conversation.conversation_id}/{at}",
        messages=messages,
        metadata={"branch_of": conversation.conversation_id, "train_from": len(before)},
    )
