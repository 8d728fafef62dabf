"""What workers of web servers and task queues run in tests/torture/test_worker_exits.py: one model, made before they fork."""

from __future__ import annotations

import os

from surefoot import ChatModel, Policy, Target
from surefoot.settings import SpendLimit

SAID = [os.environ.get(f"WORKER_{name}", "") for name in ("URL", "LEDGER", "REDIS")]  # noqa: TID251 - by who starts the workers
LIMIT = SpendLimit(usd=100.0)


def model(url: str, ledger: str, redis: str) -> ChatModel:
    """Its rows and settlements are what must not be lost."""
    target = Target("openai:gpt-4.1", base_url=f"{url}/v1", api_key="k", lane="direct", input_usd_per_mtok=0.0, output_usd_per_mtok=1000.0)
    return ChatModel(target, ledger=ledger, policy=Policy(budgets=(LIMIT,), budget_store=f"{redis}/2"))


if all(SAID):
    chat = model(*SAID)

    def application(environ, start_response):
        """For gunicorn."""
        start_response("200 OK", [("content-type", "text/plain")])
        return [chat.invoke(f"over HTTP: {environ['PATH_INFO']}", max_tokens=50).text.encode()]

    try:
        from celery import Celery
    except ImportError:
        pass
    else:
        app = Celery("worker_apps", broker=f"{SAID[2]}/0", backend=f"{SAID[2]}/1")
        app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)

        @app.task(name="ask")
        def ask(question):
            """For Celery."""
            return chat.invoke(question, max_tokens=50).text
