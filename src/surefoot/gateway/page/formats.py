"""Numbers, money and moments as a page shows them, in English or Turkish."""

from __future__ import annotations

from datetime import UTC, datetime

from surefoot.rules.spending import NANO


class Formats:
    """`Formats("tr").money(1_500_000_000)` is "1,50 $". Moments are UTC, as the ledger's days are."""

    def __init__(self, language: str) -> None:
        self.language = language

    def number(self, value: float, digits: int = 0) -> str:
        """With marks between thousands."""
        said = f"{value:,.{digits}f}"
        return said.translate(_TURKISH) if self.language == "tr" else said

    def short(self, value: float) -> str:
        """Of large counts the first three digits: 12.3 k, 4.56 M."""
        for least, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
            if abs(value) >= least:
                shown = value / (1e3 if sign == "k" else least)
                return f"{self.number(shown, 0 if shown >= 100 else 1)} {sign}"
        return self.number(value)

    def money(self, nano: float | None, digits: int | None = None) -> str:
        """Of billionths of a dollar; to the cent, and below a dollar finer. None is not known."""
        if nano is None:
            return "–"
        usd = nano / NANO
        if digits is None:
            digits = 2 if usd == 0 or abs(usd) >= 1 else 4 if abs(usd) >= 0.001 else 6
        return f"{self.number(usd, digits)} $" if self.language == "tr" else f"${self.number(usd, digits)}"

    def share(self, part: float, whole: float) -> str:
        """Percent; of nothing it is not known. What is not all is never shown as 100."""
        if not whole:
            return "–"
        percent = 100 * part / whole
        digits = 0 if percent in {0, 100} else 1 if 0.05 <= percent < 99.95 else 2
        said = self.number(percent, digits)
        return f"%{said}" if self.language == "tr" else f"{said}%"

    def duration(self, ms: float | None) -> str:
        """Milliseconds, beyond a second seconds."""
        if ms is None:
            return "–"
        if ms < 999.5:
            return f"{self.number(ms)} ms"
        seconds, unit = ms / 1000, "sn" if self.language == "tr" else "s"
        return f"{self.number(seconds, 2 if seconds < 10 else 1 if seconds < 100 else 0)} {unit}"

    def moment(self, at: float | None) -> str:
        """Day and time."""
        return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def day(self, at: float | None) -> str:
        """The day."""
        return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


_TURKISH = str.maketrans(",.", ".,")
