"""Spend limits that many processes share: where their accounts are kept."""
