"""What the doctor says, and what it advises."""

from __future__ import annotations

import builtins
import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import ray

from maskstream.pipeline.cli.connecting import URL_VARIABLE
from maskstream.pipeline.cli.main import main
from maskstream.pipeline.store import open_store
from maskstream.pipeline.store.sealing import KEY_VARIABLE
from tests.pipeline.store.servers import RedisServer, raw_client, running

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def findings(capsys: Captured, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = main(["doctor", "--json", *arguments])
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    for one in found.values():
        assert bool(one["advice"]) == (one["status"] != "ok"), one
    return code, found


def test_all_is_well_here(capsys: Captured) -> None:
    code, found = findings(capsys)
    assert code == 0
    assert {one["status"] for one in found.values()} <= {"ok", "note"}
    for name in ("python", "packages", "cpu", "checkpoint", "codecs", "session store", "ray"):
        assert found[name]["status"] == "ok"
    assert main(["doctor"]) == 0
    assert "everything works" in capsys.readouterr().out


def test_a_store_out_of_reach_and_a_missing_checkpoint(capsys: Captured) -> None:
    url = "redis://bob:hunter2@127.0.0.1:1/0"
    code, found = findings(capsys, "--redis", url, "--checkpoint", "/nowhere")
    assert code == 1
    assert "no Redis server can be reached" in found["session store"]["found"]
    assert "start a server" in found["session store"]["advice"]
    assert found["checkpoint"]["status"] == "fault"
    assert found["secret key"]["status"] == "note"
    assert "openssl rand" in found["secret key"]["advice"]
    assert "hunter2" not in json.dumps(found)
    assert main(["doctor", "--redis", url]) == 1
    told = capsys.readouterr().out
    assert "1 fault; see →" in told
    assert "hunter2" not in told


def test_a_redis_that_forgets(capsys: Captured, tmp_path: Path) -> None:
    with running(RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru")) as server:
        code, found = findings(capsys, "--redis", server.url)
        assert code == 1
        assert found["session store"]["found"].startswith(f"{server.url}: Redis ")
        assert found["eviction"]["status"] == "fault"
        assert "noeviction" in found["eviction"]["advice"]
        assert "appendonly" in found["persistence"]["advice"]
        raw_client(server.url).config_set("maxmemory-policy", "noeviction")
        code, found = findings(capsys, "--redis", server.url)
        assert (code, "eviction" in found) == (0, False)


def test_an_unreadable_session_is_named(capsys: Captured) -> None:
    store = open_store()
    assert store.url is not None
    try:
        stranger = raw_client(store.url)
        stranger.zadd("maskstream:sessions", {"odd": 2**45})
        stranger.hset("maskstream:session:odd", "state", "asleep")
        code, found = findings(capsys, "--redis", store.url)
        assert code == 1
        assert "maskstream:session:odd" in found["session"]["found"]
        assert "--close" in found["session"]["advice"]
    finally:
        store.close()


def test_what_is_not_installed(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import, real_version = builtins.__import__, metadata.version

    def no_ray(name: str, *rest: Any) -> Any:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real_import(name, *rest)

    def version(name: str) -> str:
        if name == "ray":
            raise metadata.PackageNotFoundError(name)
        return real_version(name)

    monkeypatch.setattr(builtins, "__import__", no_ray)
    monkeypatch.setattr(metadata, "version", version)
    code, found = findings(capsys)
    assert code == 1
    assert found["package ray"]["advice"] == "pip install ray"
    assert (found["ray"]["status"], found["ray"]["advice"]) == ("fault", "pip install ray")
    assert found["session store"]["status"] == "ok"
    assert main(["serve"]) == 2
    assert "a runtime needs Ray" in capsys.readouterr().err


def test_a_pyav_that_reads_neither_films_nor_cameras(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str, mode: str) -> Any:
        raise ValueError(name)

    monkeypatch.setattr(av, "Codec", none)
    monkeypatch.setattr(av, "formats_available", {"mov,mp4"})
    code, found = findings(capsys)
    assert code == 1
    assert (found["codecs"]["status"], found["encoder"]["status"]) == ("fault", "fault")
    assert "pip install --force-reinstall av" in found["codecs"]["advice"]
    assert found["cameras"]["status"] == "note"
    assert "--no-binary av" in found["cameras"]["advice"]


@pytest.mark.cluster
def test_starting_ray_and_loading_the_checkpoint(capsys: Captured) -> None:
    code, found = findings(capsys, "--full")
    assert code == 0
    assert re.search(r"\d million values, loaded$", found["checkpoint"]["found"])
    assert re.search(r"starts; object store of \d+\.\d GiB$", found["ray"]["found"])
    assert not ray.is_initialized()


def test_little_room_and_a_bad_key(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    little = SimpleNamespace(total=2**26, used=0, free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: little)
    monkeypatch.setenv(KEY_VARIABLE, "abcd")
    code, found = findings(capsys)
    assert code == 1
    assert "--shm-size" in found["shared memory"]["advice"]
    assert "TMPDIR" in found["disk"]["advice"]
    assert "has 2 bytes" in found["secret key"]["found"]
    monkeypatch.setenv(KEY_VARIABLE, "xyz")
    code, found = findings(capsys)
    assert "is not hexadecimal" in found["secret key"]["found"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--redis", "http://x"], "is no Redis URL"),
        (["--redis", "redis://127.0.0.1:1", "--persist", "/tmp/x"], "persistence_dir is for"),
        (["--allow-root", "/nowhere"], "--allow-root /nowhere is not a folder"),
        (["--allow-scheme", "gopher"], "allowed_schemes holds gopher"),
        (["--allow-hosts", "http://cam"], "'http://cam' is neither a host name"),
        (["--checkpoint", "/nowhere"], "no checkpoint '/nowhere'"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--namespace", "a b"], "Redis namespace 'a b'"),
    ],
)
def test_serve_refuses_before_it_starts(
    arguments: list[str], complaint: str, capsys: Captured
) -> None:
    assert main(["serve", *arguments]) == 2
    assert complaint in capsys.readouterr().err
