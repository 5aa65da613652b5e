"""Units of systemd without systemd: their commands, environments and restarts, in a folder that stands for the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDERS = {"CacheDirectory": "var/cache", "StateDirectory": "var/lib"}
"""Of the machine, in which a service has folders of its own."""

KEEPER = """
cd "$1"
shift
stop() {
    kill "$child" 2>/dev/null
    wait "$child"
    exit 0
}
trap stop TERM
while :; do
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    echo "UNIT ended with $code"
    case " ENDS " in *" $code "*) exit "$code" ;; esac
    sleep SECONDS &
    child=$!
    wait "$child"
done
"""
"""Does what Restart= says; SIGTERM stops it, as `systemctl stop` does."""


@dataclass(frozen=True)
class Unit:
    """A service, or an instance of a template.

    Parameters
    ----------
    file : Path
    root : Path
        Stands for the root of the machine: etc/covsvc is there, and what the service writes.
    programs : dict of str to list of str
        What stands for a program of /opt/covsvc/.venv/bin.
    instance : str
        What is after the @.
    """

    file: Path
    root: Path
    programs: dict[str, list[str]]
    instance: str = ""
    lines: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        told = [line for line in self.file.read_text().splitlines() if "=" in line and not line.startswith("#")]
        lines = [line.partition("=")[::2] for line in told]
        object.__setattr__(self, "lines", lines)

    @property
    def name(self) -> str:
        return self.file.stem + self.instance

    def settings(self, key: str) -> list[str]:
        """Return what is set of a key, with all that systemd puts in for itself."""
        specifiers = {
            "i": self.instance,
            "d": str(self.root / "run/credentials" / self.name),
            "C": str(self.root / "var/cache"),
            "S": str(self.root / "var/lib"),
        }
        values = [
            re.sub("%(.)", lambda found: specifiers[found[1]], value) for name, value in self.lines if name == key
        ]
        return [value.replace("/etc/covsvc", f"{self.root}/etc/covsvc") for value in values]

    def environment(self) -> dict[str, str]:
        """Return what the service has in its environment."""
        pairs = [pair for line in self.settings("Environment") for pair in line.split()]
        for file in self.settings("EnvironmentFile"):
            if not file.startswith("-") or Path(file[1:]).exists():
                lines = Path(file.removeprefix("-")).read_text().splitlines()
                pairs += [line for line in lines if line and not line.startswith("#")]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self) -> list[str]:
        """Return what starts the service."""
        (line,) = self.settings("ExecStart")
        environment = self.environment()
        program, *words = [re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], word) for word in line.split()]
        path, _, name = program.rpartition("/")
        assert path == "/opt/covsvc/.venv/bin"
        return [*self.programs[name], *words]

    def prepare(self) -> None:
        """Make the folders and the credentials of the service."""
        for key, place in FOLDERS.items():
            for name in self.settings(key):
                (self.root / place / name).mkdir(parents=True, exist_ok=True)
        for each in self.settings("LoadCredential"):
            name, _, source = each.partition(":")
            credential = self.root / "run/credentials" / self.name / name
            credential.parent.mkdir(parents=True, exist_ok=True)
            credential.write_bytes(Path(source).read_bytes())
            credential.chmod(0o400)

    def kept(self, most_seconds: float) -> list[str]:
        """Return the command of a process that starts the service, and starts it again when it ends, as the unit says.

        Parameters
        ----------
        most_seconds : float
            However long the unit would wait before it starts it again.
        """
        (restart,), (seconds,) = self.settings("Restart"), self.settings("RestartSec")
        (place,) = self.settings("WorkingDirectory")
        ends = [code for key in ("RestartPreventExitStatus", "SuccessExitStatus") for code in self.settings(key)]
        assert restart in ("always", "on-failure")
        if restart == "on-failure":
            ends.append("0")
        loop = KEEPER.replace("UNIT", self.name).replace("ENDS", " ".join(ends))
        loop = loop.replace("SECONDS", str(min(float(seconds), most_seconds)))
        return ["sh", "-uc", loop, self.name, place, *self.command()]
