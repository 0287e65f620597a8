"""Which hosts ``maskstream serve`` reads from, by who can name sources."""

from __future__ import annotations

from argparse import ArgumentParser

import pytest

from maskstream.pipeline.cli.runtime_options import add_runtime_options, runtime_config
from maskstream.pipeline.cli.serve import add_serve_parser
from maskstream.pipeline.live.hosts import HostRefusedError

AWAY, HERE = ("--redis", "redis://10.0.0.1:6379/0"), ("--redis", "redis://localhost:6379/0")


@pytest.mark.parametrize(
    ("arguments", "admitted", "refused"),
    [
        ((), ["127.0.0.1", "10.0.0.1", "8.8.8.8"], ["169.254.169.254"]),
        (HERE, ["127.0.0.1", "10.0.0.1", "8.8.8.8"], ["169.254.169.254"]),
        (AWAY, ["8.8.8.8"], ["127.0.0.1", "10.0.0.1", "169.254.169.254"]),
        (
            (*AWAY, "--allow-hosts", "10.0.0.0/8", "--allow-hosts", "169.254.0.0/16"),
            ["10.0.0.1", "8.8.8.8"],
            ["127.0.0.1", "192.168.0.1", "169.254.169.254"],
        ),
        (("--http", "127.0.0.1:0"), ["127.0.0.1", "10.0.0.1"], ["169.254.169.254"]),
        (("--http", "0.0.0.0:0", "--tokens", "t"), ["8.8.8.8"], ["127.0.0.1", "10.0.0.1"]),
        (("--http", "[::1]:0", "--owner-header", "x-user"), ["8.8.8.8"], ["127.0.0.1"]),
        (("--allow-hosts", "10.0.0.0/8"), ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"]),
    ],
)
def test_who_can_name_sources_decides(
    arguments: tuple[str, ...], admitted: list[str], refused: list[str]
) -> None:
    parser = ArgumentParser()
    add_serve_parser(parser.add_subparsers())
    hosts = runtime_config(parser.parse_args(["serve", *arguments])).policy.hosts
    assert hosts is not None
    for host in admitted:
        assert hosts.addresses(host, 80) == [host]
    for host in refused:
        with pytest.raises(HostRefusedError):
            hosts.addresses(host, 80)


def test_a_runtime_that_reads_what_its_user_names_has_no_filter() -> None:
    parser = ArgumentParser()
    add_runtime_options(parser)
    assert runtime_config(parser.parse_args([])).policy.hosts is None
