"""A host in one module: a push is checked, started beside the old release and switched to, or refused. The hook of its repository runs it.

The folder of a host holds `host.git`, its pre-receive hook, `settings.json` with the app's settings, `nginx/`, and what each push adds:
`releases/N` with the logs of its processes, and `environments/`. `events.jsonl` has the time of each switch, kill and end.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from honcho.environ import parse_procfile

HOST = "127.0.0.1"
PORTS = range(14_000, 19_000)  # of web processes; nginx and the servers of the tests have others
AGAIN = 1.0  # seconds between the two SIGTERMs
KILL = 30.0  # seconds from SIGTERM to SIGKILL
UPTIME = 10.0  # seconds that every process must run before the switch, as Dokku wants of those without a probe
PROBE = 5.0  # seconds that a probe may take
LAST = 3  # lines of a log that tell why a release is refused
HOOK = """#!/bin/sh
exec env PYTHONPATH='{kit}' '{python}' -m tests.deploy.host '{folder}'
"""


class Refused(Exception):
    """The push cannot work. The message says why; it is the last of what the host prints."""


@dataclass(frozen=True)
class Release:
    """A release that was started. Its processes are one group."""

    number: int
    commit: str
    place: str  # its folder
    port: int
    group: int = 0

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the group that are alive."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == self.group and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def send(self, signum: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.group, signum)


class Host:
    """A host in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "host.git"
        self.started: dict[str, subprocess.Popen[bytes]] = {}  # by this push, by name
        self.started_at = 0.0  # time.monotonic()

    def create(self, settings: dict[str, str]) -> None:
        """Make the repository with its hook, and the settings of the app."""
        subprocess.run(["git", "init", "--quiet", "--bare", self.repository], check=True)
        hook = self.repository / "hooks" / "pre-receive"
        kit = Path(__file__).parents[2]
        hook.write_text(HOOK.format(kit=kit, python=sys.executable, folder=self.folder))
        hook.chmod(0o755)
        self.write("settings.json", settings)
        self.write("nginx/upstream", "return 503;\n")

    def set(self, **settings: str | None) -> None:
        """Change settings of the app, or remove those that are None. They hold from the next push on."""
        changed = self.read("settings.json") | settings
        self.write("settings.json", {name: value for name, value in changed.items() if value is not None})

    def deploy(self, commit: str) -> None:
        """Build the commit and start it beside the old release. Switch when it answers. Raises Refused, and changes nothing then."""
        old = self.running()
        number = old.number + 1 if old else 1
        self.say(f"Release {number} of {commit[:8]}")
        place = self.folder / "releases" / f"{number}-{commit[:8]}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", place], input=archive.stdout, check=True)
        self.build(place)
        if old:
            self.wait_for_retired()
        new = self.start(Release(number, commit, str(place), free_port()))
        try:
            self.probe(new)
            self.check_uptime(new)
        except Refused:
            self.end(new)
            raise
        self.switch(old, new)

    # --- build ---

    def build(self, place: Path) -> None:
        """Install the requirements, once for all releases with the same, and run the build's hook. Raises Refused."""
        environment = self.environment(place)
        if not environment.exists():
            self.say("Installing requirements.txt")
            try:
                self.install(environment, place)
            except Refused:
                shutil.rmtree(environment)
                raise
        self.say("Running bin/post_compile")
        run(["bin/post_compile"], place, self.variables(place))

    def environment(self, place: Path) -> Path:
        """Return the folder of the Python environment of a release."""
        files = [place / "requirements.txt", *sorted(place.glob("vendor/*"))]
        contents = b"".join(file.read_bytes() for file in files)
        return self.folder / "environments" / hashlib.sha256(contents).hexdigest()[:16]

    def variables(self, place: Path) -> dict[str, str]:
        """Return the variables of all that runs for a release: the host's, the app's settings, and nothing of this machine's."""
        path = os.pathsep.join([str(self.environment(place) / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
        return {"PATH": path, "HOME": str(place), "LANG": "C.UTF-8", **self.read("settings.json")}

    def install(self, environment: Path, place: Path) -> None:
        """Make an environment of what requirements.txt names, and nothing else."""
        with_python = ["--python", str(environment / "bin" / "python")]
        run(["uv", "venv", "--quiet", "--python", sys.executable, str(environment)], place)
        run(["uv", "pip", "install", "--quiet", *with_python, "--require-hashes", "-r", "requirements.txt"], place)

    # --- start ---

    def start(self, new: Release) -> Release:
        """Start each process of the Procfile as often as app.json says. Return the release with its group."""
        place, group = Path(new.place), 0
        variables = self.variables(place) | {"GIT_REV": new.commit, "PORT": str(new.port)}
        formation = json.loads(place.joinpath("app.json").read_text())["formation"]
        for name, command in parse_procfile(place.joinpath("Procfile").read_text()).processes.items():
            for _ in range(formation.get(name, {}).get("quantity", 0)):
                with place.joinpath(f"{name}.log").open("ab") as log:
                    process = subprocess.Popen(
                        ["sh", "-c", f"exec {command}"], cwd=place, env=variables,
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=group,
                    )  # fmt: skip
                group = group or process.pid
                self.started[name] = process
        self.started_at = time.monotonic()
        started = replace(new, group=group)
        self.note("started", started)
        return started

    def probe(self, new: Release) -> None:
        """Ask as app.json says. Raises Refused with the last lines of the log and the last answer."""
        place = Path(new.place)
        (check,) = json.loads(place.joinpath("app.json").read_text())["healthchecks"]["web"]
        self.say(f"Waiting for {check['path']}")
        answer = ""
        for _ in range(check["attempts"]):
            answer = ask(new, check["path"])
            if not answer:
                return
            time.sleep(check["wait"])
        raise Refused(
            f"{end_of_log(place, 'web')}{check['path']} was not 200 in {check['attempts']} attempts: {answer}"
        )

    def check_uptime(self, new: Release) -> None:
        """Wait until the release has run for UPTIME seconds. Raises Refused with the end of the log of a process that has ended."""
        place = Path(new.place)
        self.say(f"Waiting until all processes have run for {UPTIME:g} s")
        left = self.started_at + UPTIME - time.monotonic()
        wait(lambda: any(process.poll() is not None for process in self.started.values()), left)
        for name, process in self.started.items():
            if process.poll() is not None:
                raise Refused(f"{end_of_log(place, name)}{name} has ended with {process.poll()}")

    def run(self, command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command beside the running release, such as `heroku run`. The options are those of subprocess.run."""
        running = self.running()
        assert running is not None
        place = Path(running.place)
        return subprocess.run(command, shell=True, cwd=place, env=self.variables(place), text=True, **options)

    # --- switch ---

    def switch(self, old: Release | None, new: Release) -> None:
        """Send requests to the new release, and end the old one in the same moment."""
        self.write("nginx/upstream", f"proxy_pass http://{HOST}:{new.port};\n")
        os.kill(int(self.folder.joinpath("nginx", "pid").read_text()), signal.SIGHUP)
        self.note("switched", new)
        self.write("running.json", asdict(new))
        self.say(f"Release {new.number} serves")
        if old is None:
            return
        if self.folder.joinpath("kill at the switch").exists():
            self.note("killed", old)
            old.send(signal.SIGKILL)
        else:
            self.note("terminated", old)
            old.send(signal.SIGTERM)
        self.write("retiring.json", asdict(old))
        with self.folder.joinpath("retired.log").open("ab") as log:  # git push waits for all who have its output open
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(self.folder), "retire"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def retire(self) -> None:
        """End the release that has had its SIGTERM: send it another one, and SIGKILL to what is left after 30 s."""
        time.sleep(AGAIN)
        self.end(Release(**self.read("retiring.json")))
        self.folder.joinpath("retiring.json").unlink()

    def end(self, release: Release) -> None:
        """Send a release SIGTERM, and SIGKILL to what is left after 30 s."""
        release.send(signal.SIGTERM)
        if not wait(lambda: not release.processes(), KILL):
            self.note("killed late", release)
            release.send(signal.SIGKILL)
        self.note("ended", release)

    def wait_for_retired(self) -> None:
        """Wait until at most one release runs, as hosts do that put a limit on their containers."""
        self.say("Waiting until the release before the running one has ended")
        wait(lambda: not self.folder.joinpath("retiring.json").exists(), 2 * KILL)

    def stop(self) -> None:
        """Kill all that runs."""
        for event in self.events():
            release = Release(**event["release"])
            if release.processes():
                release.send(signal.SIGKILL)

    # --- the files of the host ---

    def running(self) -> Release | None:
        """Return the release that gets the requests, or None before the first push."""
        return Release(**self.read("running.json")) if self.folder.joinpath("running.json").exists() else None

    def events(self) -> list[dict[str, Any]]:
        """Return `at`, in seconds since 1970, `what`, and the `release`, for each event."""
        file = self.folder / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def note(self, what: str, release: Release) -> None:
        with self.folder.joinpath("events.jsonl").open("a") as events:
            events.write(json.dumps({"at": time.time(), "what": what, "release": asdict(release)}) + "\n")

    def read(self, name: str) -> Any:
        return json.loads(self.folder.joinpath(name).read_text())

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        whole = path.with_name(f"{path.name}.new")
        whole.write_text(content if isinstance(content, str) else json.dumps(content))
        whole.replace(path)

    def say(self, line: str) -> None:
        print(f"-----> {line}", flush=True)


def run(command: list[str], place: Path, variables: dict[str, str] | None = None) -> None:
    """Run a step of the build. Raises Refused with what it said if it fails."""
    done = subprocess.run(
        command, cwd=place, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise Refused("\n".join(said) or f"{command[0]} exits with {done.returncode}")


def free_port() -> int:
    """Return a port that nothing listens on, so that nothing but the new release answers its probes."""
    for port in PORTS:
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("0.0.0.0", port))
            return port
    raise Refused("No port is free.")


def end_of_log(place: Path, name: str) -> str:
    return "".join(f"{line}\n" for line in place.joinpath(f"{name}.log").read_text().splitlines()[-LAST:])


def ask(release: Release, path: str) -> str:
    """Return the answer of a release to a probe, or "" for 200."""
    if not any(is_listening(process, release.port) for process in release.processes()):
        return f"no process of the release listens on port {release.port}"
    try:
        with urllib.request.urlopen(f"http://{HOST}:{release.port}{path}", timeout=PROBE):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}: {' '.join(error.read().decode().split())}"
    except OSError as error:
        return str(error)


def is_listening(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        sockets = process.net_connections("tcp")
        return any(found.laddr.port == port and found.status == psutil.CONN_LISTEN for found in sockets)
    return False


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition comes true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def main() -> int:
    """Run as the hook, with a line "old new ref" on stdin for each pushed branch, or to retire a release."""
    host = Host(Path(sys.argv[1]))
    if sys.argv[2:] == ["retire"]:
        host.retire()
        return 0
    for line in sys.stdin:
        _, commit, _ = line.split()
        try:
            host.deploy(commit)
        except Refused as refused:
            print(refused, flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
