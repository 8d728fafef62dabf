"""A cross-encoder of two small layers, written to a folder as sentence-transformers expects it."""

from __future__ import annotations

import json
import string
from pathlib import Path


def write(folder: Path) -> Path:
    """Weights drawn by a seed; a vocabulary of letters."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase, *(f"##{one}" for one in string.ascii_lowercase)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    json.loads((folder / "config.json").read_text())
    return folder
