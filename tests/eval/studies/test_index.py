"""The indexing bench counts what it says it counts."""

from __future__ import annotations

import argparse
import re

import pytest

from surefoot_eval.studies.index import Watch, _Counted, main


class StandInEncoder:
    """Stands for a SentenceTransformer; only its method's name matters here."""

    def encode(self, texts: list[str], **options) -> int:
        return len(texts)


def test_texts_are_counted_until_undone():
    """What the encoder did in the second run must not be read off the first."""
    encoder, watch = StandInEncoder(), Watch()
    counted = _Counted(encoder, watch)
    assert encoder.encode(["a", "b"]) == 2
    counted.undo()
    encoder.encode(["c"])
    assert counted.texts == 2
    assert watch.wall_s > 0


@pytest.mark.heavy
@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_second_run_embeds_nothing(framework, data, capsys):
    """Whatever the clock says, the counts hold."""
    main(argparse.Namespace(data=data, documents=12, framework=framework))
    said = capsys.readouterr().out
    first, stored = re.search(r"(\d+) texts embedded, (\d+) passages stored", said).groups()
    assert int(first) == int(stored) > 12
    assert "CPU, 0 texts embedded" in said
