"""From files of any folder to texts."""
