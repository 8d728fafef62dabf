"""Chunks of a durable job, delivered by Ray: `python ray_run.py STORE JOB`. Every machine needs the store and surefoot's settings.

What Ray loses, it or anybody else may do again: `surefoot jobs work` finishes what is left.
"""

import sys

import ray

from surefoot import jobs


@ray.remote(num_cpus=0.1, max_retries=3)  # it waits for models, not for processors
def chunk(store: str, job: str, no: int) -> str:
    """Do one chunk on whatever machine this is."""
    return jobs.run_chunk_sync(store, job, no)


def run(store: str, job: str) -> list[str]:
    """Have all chunks of a job done."""
    with jobs.open(store) as q:
        chunks = q.status(job).chunks
    return ray.get([chunk.remote(store, job, no) for no in range(chunks)])


if __name__ == "__main__":
    print(run(*sys.argv[1:]))
