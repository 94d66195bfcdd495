"""Conversation sets, replay, metrics, benchmarks."""
