"""Builds the image without Docker: the very instructions of the Dockerfile, in a root of their own.

Where the Dockerfile says FROM python, the root gets a copy of the Python that runs this, and sees the
system's programs and libraries read-only. Its container is a process that sees nothing else, as the user, and
with the variables, of the image. It takes Linux, root, and a package index. It does not show the base image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns("test", "idlelib", "tkinter", "turtledemo", "config-*", "__pycache__")
_SETTINGS = ("default", "ld.so.conf", "ld.so.conf.d", "login.defs", "hosts", "nsswitch.conf", "pip.conf")
_LISTS = {"CMD": "command", "ENTRYPOINT": "entrypoint", "HEALTHCHECK": "health", "VOLUME": "volumes"}
_DATABASES = ("group", "gshadow", "passwd", "resolv.conf", "shadow")


@dataclass
class Stage:
    """One stage: its root, and what its instructions have set."""

    root: Path
    variables: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"}
    )
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    def enter(self, words: list[str], variables: dict[str, str], *, restricted: bool) -> list[str]:
        """The command that runs `words` in the root: to build as root, to run as the image's user.

        Restricted, it can write only to the volumes and /tmp, and neither has privileges nor can get any.
        """
        root = shlex.quote(str(self.root))
        lines = ["set -eu"]
        lines += [f"mount --bind {root} {root}"]
        lines += [
            f"mount --bind {source} {root}{source}; mount -o remount,bind,ro {root}{source}"
            for source in _shared()
        ]
        lines += [f"mount --rbind {source} {root}{source}" for source in ("/dev", "/proc")]
        if restricted:
            lines += [f"mount --bind {root}{volume} {root}{volume}" for volume in self.volumes]
            lines += [f"mount -o remount,bind,ro {root}", f"mount -t tmpfs tmpfs {root}/tmp"]
        given = [f"{key}={value}" for key, value in {**self.variables, **variables}.items()]
        inside = ["/usr/bin/env", "-i", f"--chdir={self.folder}", *given, *words]
        if restricted:
            user, group = self.user.split(":")
            nothing = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--clear-groups"]
            inside = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", *nothing, *inside]
        lines += [shlex.join(["exec", "chroot", str(self.root), *inside])]
        return ["unshare", "--mount", "--propagation", "private", "bash", "-c", "\n".join(lines)]


def possible() -> bool:
    """Whether this is root, and may have mounts of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    tried = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def build(dockerfile: Path, folder: Path) -> Stage:
    """Follow the Dockerfile, with its folder as context; returns the last stage.

    Raises:
        AssertionError: An instruction failed; the message has its output.
    """
    stages: dict[str, Stage] = {}
    stage = Stage(folder)
    for keyword, rest in _instructions(dockerfile.read_text()):
        if keyword == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            stage = stages[name] = Stage(_base(folder / name))
        elif keyword == "RUN":
            _run(stage, rest)
        elif keyword == "COPY":
            _copy(stage, rest, stages, dockerfile.parent)
        else:
            _set(stage, keyword, rest)
    return stage


def _instructions(text: str) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", "", text)
    return [
        (keyword, rest) for keyword, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def _shared() -> list[str]:
    """What a root sees of this system."""
    return [str(path) for path in sorted(Path("/usr").iterdir()) if path.is_dir() and path.name != "local"]


def _base(root: Path) -> Path:
    for name in ("dev", "etc/ssl", "opt", "proc", "root", "tmp", "usr/local/bin", "usr/local/lib", "var/lib"):
        (root / name).mkdir(parents=True)
    for shared in _shared():
        (root / shared[1:]).mkdir(exist_ok=True)
    for link in ("bin", "lib", "lib64", "sbin"):
        (root / link).symlink_to(f"usr/{link}")
    for name in (*_SETTINGS, *_DATABASES, "ssl/certs"):
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    for path in (root, root / "etc", root / "usr", root / "var", root / "var/lib", root / "opt"):
        path.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    _python(Path(sys.base_prefix), root / "usr" / "local")
    _run(Stage(root), "ldconfig")
    return root


def _python(source: Path, target: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(source / "bin" / version, target / "bin")
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(version)
    for library in (source / "lib").glob("libpython*.so*"):
        shutil.copy(library, target / "lib")
    shutil.copytree(source / "lib" / version, target / "lib" / version, ignore=_LEFT_OUT)


def _run(stage: Stage, line: str) -> None:
    words = ["/bin/sh", "-c", line]
    # Where packages come from is the business of the machine.
    passed = {
        key: value for key, value in os.environ.items() if key.startswith("PIP_") or "proxy" in key.lower()
    }
    command = stage.enter(words, {**passed, "HOME": "/root"}, restricted=False)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise AssertionError(f"RUN {line}\n{done.stdout}\n{done.stderr}")


def _copy(stage: Stage, rest: str, stages: dict[str, Stage], context: Path) -> None:
    *sources, target = rest.split()
    if sources[0].startswith("--from="):
        context = stages[sources.pop(0).partition("=")[2]].root
    place = stage.root / stage.folder.strip("/") / target.removeprefix("./").strip("/")
    if target.startswith("/"):
        place = stage.root / target.strip("/")
    for source in (context / each.strip("/") for each in sources):
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def _set(stage: Stage, keyword: str, rest: str) -> None:
    pairs = [word.partition("=")[::2] for word in shlex.split(rest)]
    if keyword == "ENV":
        known = stage.variables["PATH"]
        stage.variables.update({key: value.replace("$PATH", known) for key, value in pairs})
    elif keyword == "LABEL":
        stage.labels.update(pairs)
    elif keyword == "WORKDIR":
        stage.folder = rest
        (stage.root / rest.strip("/")).mkdir(parents=True, exist_ok=True)
    elif keyword == "USER":
        stage.user = rest
    elif keyword in _LISTS:
        setattr(stage, _LISTS[keyword], json.loads(rest[rest.index("[") :]))
    elif keyword not in {"ARG", "EXPOSE"}:
        raise AssertionError(f"{keyword}: such an instruction is not followed here")
