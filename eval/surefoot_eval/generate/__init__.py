"""Questions made from documents: with gold, sieved by BM25, looked through by a person."""
