"""What is kept of files and batches, and what is told of them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.jobs.records import JobStatus

WINDOW_S = 86_400  # what the protocol calls the completion window


class FileRecord(Struct, Documented, frozen=True, kw_only=True):
    """A file that a client sent, or that a batch's answers are."""

    id: str
    """ "file-" and letters and digits."""
    name: str
    """What the client calls it."""
    purpose: Literal["batch", "batch_output"]
    """What it is for: "batch" holds requests, "batch_output" their answers."""
    size_bytes: int
    """Its size."""
    created: float
    """When it came: seconds since 1970."""

    def shown(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id, "object": "file", "bytes": self.size_bytes, "created_at": int(self.created), "filename": self.name,
            "purpose": self.purpose, "status": "processed", "expires_at": None,
        }  # fmt: skip


class BatchAsked(Struct, Documented, frozen=True, kw_only=True):
    """What a client asked of a batch."""

    input_file_id: str
    """The file with its requests."""
    endpoint: str
    """The route that each of them names."""
    metadata: dict[str, str] = {}
    """The client's own notes."""


class BatchRecord(Struct, Documented, frozen=True, kw_only=True):
    """A batch."""

    id: str
    """ "batch_" and letters and digits."""
    job: str
    """The job that does it."""
    asked: BatchAsked
    """What was asked."""
    created: float
    """When: seconds since 1970."""

    def output_id(self, kind: Literal["output", "errors"]) -> str:
        """The id of the file with what came of it."""
        return f"file-{self.id.removeprefix('batch_')}-{kind}"

    def shown(self, job: JobStatus) -> dict[str, Any]:
        """As OpenAI shows it."""
        created, over = int(self.created), None if job.ended_at is None else int(job.ended_at)
        state = {"filling": "validating", "done": "completed", "cancelled": "cancelled"}.get(job.state, "in_progress")
        return {
            "id": self.id, "object": "batch", "endpoint": self.asked.endpoint, "errors": None, "completion_window": "24h",
            "input_file_id": self.asked.input_file_id, "status": state, "metadata": self.asked.metadata or None,
            "output_file_id": self.output_id("output") if job.is_over and job.done else None,
            "error_file_id": self.output_id("errors") if job.is_over and job.failed else None,
            "created_at": created, "in_progress_at": created, "expires_at": created + WINDOW_S, "finalizing_at": over,
            "completed_at": over if job.state == "done" else None, "failed_at": None, "expired_at": None,
            "cancelling_at": over if job.state == "cancelled" else None, "cancelled_at": over if job.state == "cancelled" else None,
            "request_counts": {"total": job.total, "completed": job.done, "failed": job.failed},
        }  # fmt: skip
