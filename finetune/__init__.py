"""Histories to conversations to a LoRA adapter."""
