"""What comes back, read as the vendors' SDKs read it and a little beyond: JSON that a strict reading refuses, pieces of tool calls."""
