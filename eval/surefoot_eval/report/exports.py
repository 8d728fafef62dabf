"""What other programs read: JUnit XML for CI, TREC run and judgement files for trec_eval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.records import Record
from surefoot_eval.report.costs import taken
from surefoot_eval.run.results import Results
from surefoot_eval.score.scoring import judged_passages, ranking, rows

__all__ = ["ceilings_missed", "floors_missed", "junit", "trec"]

FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 cannot hold


def floors_missed(results: Results) -> dict[tuple[str, str], str]:
    """Floors that a system is clearly below, its whole interval, by system and metric; and those nothing could be measured for."""
    missed = {}
    for system, one in results.systems.items():
        for metric, floor in results.floors.items():
            summary = one.summaries[metric]
            if summary.mean is None:
                missed[system, metric] = f"{metric} has no value; the floor is {floor}"
            elif (summary.interval.high if summary.interval else summary.mean) < floor:
                missed[system, metric] = f"{metric} is {summary}, below the floor {floor}"
    return missed


def ceilings_missed(results: Results, records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Bounds of latency, money and tokens that a system is clearly above (a latency's whole interval); an unknown price is above, too."""
    missed = {}
    for system in results.systems:
        cost = taken(records, system)
        for name, most in results.ceilings.items() if cost else ():
            value = getattr(cost, name)
            interval = getattr(cost, name.removesuffix("_s"), None) if name.endswith("_s") else None
            if value is None:
                missed[system, name] = f"{name} is unknown (a price is); the ceiling is {most}"
            elif (interval.low if interval else value) > most:
                missed[system, name] = f"{name} is {value:.4g}{f' {interval}' if interval else ''}, above the ceiling {most}"
    return missed


def junit(results: Results, records: Sequence[Record], file: Path) -> None:
    """A test suite a system: a case a question (error where it failed) and a case a floor (failure where it is missed)."""
    root = Element("testsuites", name=results.suite)
    missed = floors_missed(results) | ceilings_missed(results, records)
    last = {(record.system, record.question, record.seed): record for record in records}
    for system, one in results.systems.items():
        own = [record for record in last.values() if record.system == system]
        failed = {(record.question, record.seed): record for record in own if record.error}
        count = len(own) + len(results.floors) + len(results.ceilings)
        suite = SubElement(root, "testsuite", name=system, tests=str(count), errors=str(len(failed)))
        suite.set("failures", str(sum(name == system for name, _ in missed)))
        for record in own:
            name = f"{record.question}" + (f"#{record.seed}" if record.seed else "")
            case = SubElement(suite, "testcase", classname=f"{results.suite}.{system}", name=name, time=f"{record.pipeline_s:.3f}")
            if record.error:
                SubElement(case, "error", message=_clean(record.error))
        for metric in results.floors:
            case = SubElement(suite, "testcase", classname=f"{results.suite}.{system}.floors", name=metric)
            if (system, metric) in missed:
                SubElement(case, "failure", message=_clean(missed[system, metric]))
            SubElement(case, "system-out").text = str(one.summaries[metric])
        for name in results.ceilings:
            case = SubElement(suite, "testcase", classname=f"{results.suite}.{system}.ceilings", name=name)
            if (system, name) in missed:
                SubElement(case, "failure", message=_clean(missed[system, name]))
    indent(root)
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def trec(results: Results, records: Sequence[Record], material: Dataset, seeds: Sequence[int], folder: Path) -> list[Path]:
    """`SYSTEM.run` (qid Q0 docid rank score tag) and `qrels` with which trec_eval gives the same figures. Ids are percent-encoded."""
    folder.mkdir(parents=True, exist_ok=True)
    written, judged = [], {}
    for system in results.systems:
        lines = []
        for row in rows(records, material, system, seeds):
            judged[row.key] = judged_passages(row, material)
            found = ranking(row, material)
            for rank, (key, score) in enumerate(found.items() if isinstance(found, dict) else (), 1):
                lines.append(f"{_word(row.key)} Q0 {_word(key)} {rank} {score} {_word(system)}")
        written.append(_lines(folder / f"{_word(system)}.run", lines))
    rows_of: Mapping[str, Mapping[str, int]] = judged
    written.append(
        _lines(
            folder / "qrels", [f"{_word(key)} 0 {_word(name)} {grade}" for key, table in rows_of.items() for name, grade in table.items()]
        )
    )
    return written


def _lines(file: Path, lines: Sequence[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _word(text: str) -> str:
    """One word of ASCII: TREC's columns end at spaces."""
    return quote(text, safe="-_.~#:")


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
