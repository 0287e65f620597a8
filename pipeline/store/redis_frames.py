"""The Redis store's pushed frames: a queue of each session whose source is ``pushed://``."""

from __future__ import annotations

from typing import Any

from maskstream.pipeline.store import problems, stored
from maskstream.pipeline.store.records import PushedPage, PushReceipt
from maskstream.pipeline.store.redis_part import RedisPart


class RedisFrames(RedisPart):
    """See :class:`maskstream.pipeline.store.base.SessionStore` for what the methods promise."""

    def push_frame(self, session_id: str, blob: bytes, pts_s: float | None = None) -> PushReceipt:
        time_s = problems.check_time(pts_s)
        answer = self._push(session_id, 0, "" if time_s is None else repr(float(time_s)), blob)
        return PushReceipt(sequence=answer[1], num_waiting=answer[2], num_dropped=answer[3])

    def finish_frames(self, session_id: str) -> None:
        self._push(session_id, 1, "", b"")

    def take_frames(
        self,
        session_id: str,
        after: int = 0,
        *,
        done: int | None = None,
        count: int = 8,
        timeout_s: float = 0.0,
    ) -> PushedPage:
        problems.check_range(after, count)
        oldest = problems.frames_to_keep(after, done)
        key = self._keys.frames(session_id)

        def look() -> tuple[PushedPage, bool, bytes]:
            answer = self._run("take_frames", session_id, after, oldest, count)
            if answer[0] == "not_pushed":
                raise problems.not_pushed(session_id)
            if answer[0] == "ahead":
                raise problems.cursor_ahead(session_id, "pushed frames", after, int(answer[1]))
            _, rows, dropped, is_end, event = answer
            frames = stored.readable(stored.frames(rows, key))
            page = PushedPage(
                frames=frames,
                cursor=frames[-1].sequence if frames else after,
                num_dropped=dropped,
                is_end=bool(is_end) and len(frames) == len(rows),
            )
            return page, bool(frames) or page.is_end, event

        return self._link.wait(session_id, look, timeout_s)

    def _push(self, session_id: str, is_end: int, pts: str, blob: bytes) -> list[Any]:
        answer = self._run("push_frame", session_id, is_end, pts, blob, *problems.TAKE_PROMPTS)
        if answer[0] == "not_pushed":
            raise problems.not_pushed(session_id)
        if answer[0] == "finished":
            raise problems.no_more_frames(session_id)
        if answer[0] == "refused":
            raise problems.wrong_state(
                session_id, answer[1].decode(), "take frames", problems.TAKE_PROMPTS
            )
        return answer
