"""The one place where FFmpeg opens media to read it, and the bounds that it gets.

FFmpeg opens more than it is told to: lists and playlists name other files and hosts, patterns such
as ``img%d.png`` stand for files beside them, and names such as ``concat:…`` are programs of their
own. So FFmpeg may try only the containers listed here, which hold their media themselves, and speak
only the protocols that the caller names. What a playlist names is opened by us (``io_open``).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from maskstream.core.errors import InputError
from maskstream.pipeline.sources.roots import ANYWHERE, AllowedRoots

#: Containers that hold their media themselves. Left out are concat, hls, dash, image2, imf, sdp,
#: rtsp, vobsub, mlv and others that open more files or hosts, lavfi and devices.
CONTAINERS = (
    "3dostr,4xm,aac,ac3,amv,apng,apv,asf,av1,avi,avs,avs2,avs3,bethsoftvid,bfi,bink,bmp_pipe,bmv,"
    "c93,cavsvideo,cdxl,cine,dhav,dirac,dnxhd,dsicin,dv,dxa,ea,eac3,evc,film_cpk,filmstrip,flac,"
    "flic,flv,frm,gif,gif_pipe,gxf,h261,h263,h264,hevc,hnm,iamf,idcin,iff,ingenient,ipmovie,ipu,"
    "iv8,ivf,ivr,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_anim,jpegxl_pipe,jv,kux,live_flv,lmlm4,"
    "loas,lvf,lxf,m4v,matroska,mgsts,mjpeg,mjpeg_2000,mm,mods,moflex,mov,mp3,mpeg,mpegts,"
    "mpegvideo,mtv,mv,mvi,mxf,mxg,nc,nsv,nut,nuv,obu,ogg,paf,pam_pipe,pbm_pipe,pdv,pgm_pipe,pmp,"
    "png_pipe,ppm_pipe,psxstr,pva,qoi_pipe,r3d,rl2,rm,roq,rpl,sdr2,ser,sga,siff,simbiosis_imx,"
    "smjpeg,smk,smush,srt,swf,thp,tiertexseq,tiff_pipe,tmv,ty,v210,v210x,vc1,vc1test,vivo,"
    "vividas,vmd,vvc,wav,wc3movie,webp_pipe,webvtt,wsvqa,wtv,wv,xa,xmv,yop,yuv4mpegpipe"
)

_PLAYLISTS = frozenset({".m3u8", ".m3u"})
_LISTS = frozenset({".ffconcat"})
#: We open everything ourselves, so that FFmpeg need not know a protocol.
NO_PROTOCOL = "none"
# HLS looks into FFmpeg's own connections for the first two, and ours have no such insides. Suffixes
# say nothing: what may be opened, and read as what, is decided by us.
_HLS_OPTIONS = {
    "http_persistent": "0",
    "http_multiple": "0",
    "allowed_extensions": "ALL",
    "allowed_segment_extensions": "ALL",
    "extension_picky": "0",
}
# A movie may say that its pictures lie in another file.
_NO_REFERENCES = {"enable_drefs": "0", "use_absolute_path": "0"}
_BUFFER_BYTES = 2**16
_END_OF_PLAYLIST = b"#EXT-X-ENDLIST"
MAX_PLAYLIST_BYTES = 16 * 2**20

Timeouts = tuple[float, float]
IoOpen = Callable[[str, int, dict[str, str]], Any]


class Reads(Protocol):
    """What FFmpeg needs of a file that we have opened."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


def open_media(
    source: str | Reads,
    *,
    demuxer: str | None = None,
    protocols: str = NO_PROTOCOL,
    options: dict[str, str] | None = None,
    timeout: Timeouts | None = None,
    io_open: IoOpen | None = None,
) -> InputContainer:
    """Open media with FFmpeg.

    Args:
        source: a path or URL, or a file that is open.
        demuxer: read it as this, also where it is not among ``CONTAINERS``; None: find out which of
            these it is.
        protocols: what FFmpeg may open by itself, separated by commas.
        options: more options for FFmpeg.
        timeout: seconds to open, and to read a packet.
        io_open: opens ``source``, and what else FFmpeg wants to open, in FFmpeg's place. It must
            not raise: FFmpeg may go on, and the error would come up at another call.

    Raises:
        av.FFmpegError: FFmpeg cannot open or read it.
    """
    formats = CONTAINERS if demuxer is None else f"{CONTAINERS},{demuxer}"
    bounds = {"format_whitelist": formats, "protocol_whitelist": protocols} | _NO_REFERENCES
    return av.open(
        source,
        "r",
        format=demuxer,
        options=(options or {}) | bounds,
        timeout=timeout,
        io_open=io_open,
        buffer_size=_BUFFER_BYTES,
    )


def open_hls(url: str, io_open: IoOpen, timeout: Timeouts | None = None) -> InputContainer:
    """Open an HLS playlist, of which ``io_open`` opens all parts.

    Raises:
        av.FFmpegError: FFmpeg cannot open or read it.
    """
    return open_media(url, demuxer="hls", options=_HLS_OPTIONS, timeout=timeout, io_open=io_open)


class MediaFile:
    """A media file that is open.

    A playlist is read as such only where its name says so (.m3u8, .m3u): a file that is called .mp4
    is none. All that it names are files, and lie in the allowed folders. FFmpeg's own lists
    (.ffconcat) are read only where any file may be opened, since FFmpeg follows them by itself, in
    their own folder.

    Attributes:
        container: PyAV's.
    """

    container: InputContainer

    def __init__(self, path: Path, roots: AllowedRoots = ANYWHERE) -> None:
        """Open it.

        Raises:
            InputError: it, or what it names, leads out of the allowed folders.
            av.FFmpegError: FFmpeg cannot open or read it.
        """
        # An absolute path is never taken for a protocol, as cam:1.mp4 would be.
        real = roots.resolve(path)
        suffix = real.suffix.lower()
        self._files: PlaylistFiles | None = None
        if suffix in _LISTS and roots.folders is None:
            self.container = open_media(str(real), demuxer="concat", protocols="file")
        elif suffix in _PLAYLISTS:
            self._open_playlist(real, PlaylistFiles(roots))
        else:
            self.container = open_media(str(real), protocols="file")

    def _open_playlist(self, path: Path, files: PlaylistFiles) -> None:
        self._files = files
        try:
            self.container = open_hls(str(path), files.open)
        except av.FFmpegError:
            files.close()
            if files.fault is not None:
                raise InputError(files.fault) from None
            raise
        if files.fault is not None:
            self.close()
            raise InputError(files.fault)

    @property
    def fault(self) -> str | None:
        """Why a part of a playlist was not opened, or None."""
        return None if self._files is None else self._files.fault

    def close(self) -> None:
        """Release it."""
        self.container.close()
        if self._files is not None:
            self._files.close()


class PlaylistFiles:
    """Opens the files that a playlist names, as long as they lie in the allowed folders.

    Attributes:
        fault: why the first that was not opened was not, or None.
    """

    def __init__(self, roots: AllowedRoots) -> None:
        self._roots = roots
        self._open: list[BinaryIO] = []
        self.fault: str | None = None

    def open(self, url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        """Open one for FFmpeg; what may not or cannot be opened is empty, see ``fault``."""
        del flags
        is_encrypted, location = is_crypto(url)
        try:
            path = self._roots.resolve(_path_of(location))
            opened: BinaryIO = path.open("rb")
        except InputError as error:
            return self._nothing(f"the playlist names {location!r}: {error}")
        except OSError as error:
            return self._nothing(
                f"the playlist names {location!r}, which cannot be opened: {error.strerror}"
            )
        if is_encrypted:
            with opened:
                return io.BytesIO(decrypted(opened, options))
        if path.suffix.lower() in _PLAYLISTS:
            with opened:
                return io.BytesIO(as_finished(opened.read(MAX_PLAYLIST_BYTES)))
        self._open = [one for one in self._open if not one.closed]
        self._open.append(opened)
        return opened

    def close(self) -> None:
        """Close those that FFmpeg has not."""
        for opened in self._open:
            opened.close()

    def _nothing(self, fault: str) -> BinaryIO:
        self.fault = self.fault or fault
        return io.BytesIO()


def as_finished(playlist: bytes) -> bytes:
    """The same playlist with its end marked, so that FFmpeg doesn't wait for it to grow."""
    return playlist if _END_OF_PLAYLIST in playlist else playlist + b"\n" + _END_OF_PLAYLIST + b"\n"


def _path_of(location: str) -> str:
    """The path that a playlist names.

    Raises:
        InputError: it is no file.
    """
    scheme = urlsplit(location).scheme if not location.startswith("/") else ""
    if scheme == "":
        return location
    if scheme == "file":
        return location.removeprefix("file:").removeprefix("//")
    raise InputError("a playlist that is a file may name files only")


def is_crypto(url: str) -> tuple[bool, str]:
    """Whether FFmpeg asks for an encrypted part of a playlist, and where that part is."""
    for start in ("crypto+", "crypto:"):
        if url.startswith(start):
            return True, url.removeprefix(start)
    return False, url


def decrypted(encrypted: BinaryIO, options: dict[str, str]) -> bytes:
    """Decrypt a part of a playlist (AES-128-CBC), as FFmpeg's own protocol does.

    Args:
        encrypted: a file of this machine with all of it; it has a file descriptor.
        options: FFmpeg's, with ``key`` and ``iv`` in hexadecimal.

    Returns:
        What it holds; nothing where the key is wrong.
    """
    keys = {name: value for name, value in options.items() if name in ("key", "iv")}
    location = f"crypto:/dev/fd/{encrypted.fileno()}"
    try:
        with open_media(location, demuxer="data", protocols="crypto,file", options=keys) as raw:
            return b"".join(bytes(packet) for packet in raw.demux() if packet.size)
    except av.FFmpegError:
        return b""
