"""One turn of talk: model, prompt, tools, turn, grounding, memory, sessions."""
