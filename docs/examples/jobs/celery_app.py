"""Chunks of a durable job, delivered by Celery: `celery -A celery_app worker`, then `submit(...)` from anywhere.

The job, its items and its results are in surefoot's store. Celery delivers numbers of chunks and needs no result backend; a task that is
delivered twice, or after its worker died, asks nothing twice.
"""

from os import environ

from celery import Celery

from surefoot import jobs

STORE = environ.get("JOBS_STORE", "postgresql://localhost/surefoot")
app = Celery("surefoot-jobs", broker=environ.get("BROKER", "redis://localhost:6379/0"))
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1, task_ignore_result=True)


@app.task(name="surefoot.chunk", autoretry_for=(Exception,), retry_backoff=True, max_retries=5)
def chunk(job: str, no: int) -> str:
    """Do one chunk here."""
    return jobs.run_chunk_sync(STORE, job, no)


def submit(kind: str, inputs: list, **said: object) -> str:
    """Submit a job and have Celery deliver its chunks."""
    with jobs.open(STORE) as q:
        job = q.submit(kind, inputs, **said)
        for no in range(q.status(job).chunks):
            chunk.delay(job, no)
    return job
