"""Sample applications over surefoot's public names: a support bot, a content platform, a code assistant, a chat with bounded memory.

They are to be read and copied, so they stay in the repository and out of the wheel. From a clone, `.venv/bin/python -m apps.support`
(`apps.content`, `apps.coder`, `apps.chat`), each with `--help`. Without a key each works offline and says what it then cannot do.
"""
