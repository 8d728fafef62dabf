"""Questions made from documents."""
