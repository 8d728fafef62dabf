"""Index, then index again and die in the middle: python -m tests.pipelines.killed FRAMEWORK FOLDER PLACE N."""

from __future__ import annotations

import os
import signal
import sys

from chromadb.api.models.Collection import Collection

from surefoot_rag.frameworks import framework
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import scripted_embed
from tests.pipelines.retrieval.test_indexing import NEW, OLD


def main(name: str, folder: str, place: str, number: int) -> None:
    """Never returns: killed at the `number`-th `place` of the second run."""
    _, embed = scripted_embed()
    module, library = framework(name), Library(folder, framework=name, embed=embed, create=True)
    module.index(library, OLD, progress=False)
    left = number

    def arrive(here: str) -> None:
        nonlocal left
        left -= here == place
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner, method, before, after):
        original = getattr(owner, method)

        def wrapped(*args, **kwargs):
            arrive(before)
            result = original(*args, **kwargs)
            arrive(after)
            return result

        setattr(owner, method, wrapped)

    around(type(embed), "embed", "embed", "embedded")
    for method in ("add", "upsert"):
        around(Collection, method, "add", "added")
    around(Collection, "delete", "delete", "deleted")
    module.index(library, NEW, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
