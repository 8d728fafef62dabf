"""The metrics by name, each with a line that says what it measures."""

from __future__ import annotations

DEPTHS = (1, 3, 5, 10, 20, 100)


METRICS: dict[str, str] = {
    "exact_match": "answer: equal to an accepted one, both normalised (SQuAD; Turkish rules in Turkish)",
    "answer_f1": "answer: word F1 against the best accepted one (SQuAD)",
    "citation_precision": "answer: share of the citations that hold a gold span",
    "citation_recall": "answer: share of the gold spans that lie in a citation",
    "groundedness": "answer: share of its words that stand in the passages it was given",
    "refusal": "answer: answered what can be answered, refused what cannot",
    "right": "answer: says an accepted one (words in one sentence, numbers by value, not denied), or refuses where nothing answers",
    "covered": "answer: holds an accepted one's words or cites half a gold span, whatever else it says; or refuses where nothing answers",
    "served": "answer: any answer came at all; a failed question counts 0, not as an error",
    "judged": "answer: a model's verdict on groundedness; advisory unless its card says otherwise",
    "judged_right": "answer: a model's verdict on correctness beside the accepted answers; advisory unless its card says otherwise",
    **{f"{name}@{k}": f"retrieval: {words}" for k in DEPTHS for name, words in {
        "nDCG": "normalised discounted cumulative gain", "R": "recall", "RR": "reciprocal rank (MRR)", "Success": "hit rate",
    }.items()},
}  # fmt: skip


def needs_depth(metric: str) -> int:
    """How many passages a metric looks at; 0 for those that look at none."""
    name, at, depth = metric.partition("@")
    return int(depth) if at and name and depth.isdigit() else 0
