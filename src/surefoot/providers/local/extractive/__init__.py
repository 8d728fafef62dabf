"""A reader that answers with sentences of the passages it is given."""
