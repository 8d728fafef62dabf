"""Tokens, prices, the ledger, and where spend limits are kept."""
