"""How requests travel: the aiohttp session that all targets share, the direct lane over it, and the vendors' SDKs."""
