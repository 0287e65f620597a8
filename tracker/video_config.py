"""Thresholds and rules of the video loop.

Field names are those of the top level of a transformers ``Sam3VideoModel`` folder's
``config.json``, so that a checkpoint's file is read as it stands; a few are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from maskstream.core.errors import ConfigError
from maskstream.tracker.config import BOOKKEEPING

DEFAULT_MAX_NUM_OBJECTS = 256
"""Masklets of a session. At full size one holds about 10 MB of memories."""

SAM3_RULES, SAM31_RULES = "sam3", "sam3.1"

TRANSFORMERS_UNLIMITED = 10000
"""What transformers writes into ``max_num_objects`` to say that there is no limit."""

_NESTED = frozenset({"detector_config", "tracker_config"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """How detections and masklets are joined. Overlaps are IoUs of masks; times are frames."""

    low_res_mask_size: int = 288
    """Side of the masks, pixels. Written for transformers; here the model's own size counts."""

    score_threshold_detection: float = 0.5
    """Detections count from this score on."""
    det_nms_thresh: float = 0.1
    """Of two detections of a concept that overlap more, the lower-scored one goes; 0 keeps both."""

    assoc_iou_thresh: float = 0.1
    """A detection that overlaps a masklet by this much belongs to it and starts no new one."""
    trk_assoc_iou_thresh: float = 0.5
    """A masklet that a detection overlaps by this much was seen by the detector."""
    new_det_thresh: float = 0.7
    """Score that a detection needs to become a masklet, once there are masklets."""
    max_num_objects: int = DEFAULT_MAX_NUM_OBJECTS
    """Masklets at a time; where more want in, the best-scored detections get the places."""

    recondition_every_nth_frame: int = 16
    """On every nth frame, masklets that a good detection confirms are reconditioned; 0: never."""
    recondition_on_trk_masks: bool = True
    """A reconditioned masklet remembers its own mask (True) or the detection's (False)."""
    high_conf_thresh: float = 0.8
    """Reconditioning needs this detection score, and an object score *logit* above it."""
    high_iou_thresh: float = 0.8
    """Reconditioning needs this overlap of detection and masklet."""

    hotstart_delay: int = 15
    """A masklet is in hot start for this many frames, its first included; 0: never."""
    hotstart_unmatch_thresh: int = 8
    """It is dropped when it has gone unseen on this many of them,"""
    hotstart_dup_thresh: int = 8
    """or has shared detections with an older masklet on this many."""

    suppress_unmatched_only_within_hotstart: bool = True
    """False: a masklet whose keep-alive count has run out is hidden."""
    init_trk_keep_alive: int = 30
    """Keep-alive count of a new masklet; one up when seen, one down when not."""
    max_trk_keep_alive: int = 30
    min_trk_keep_alive: int = -1
    decrease_trk_keep_alive_for_empty_masklets: bool = False
    """The count also goes down where the masklet's mask is empty."""

    association_rules: str = SAM3_RULES
    """"sam3", or "sam3.1": overlap of detections is measured over the smaller area, detections that
    overlap several masklets by much (or the other way round) are taken as a match of none, a first
    detection needs ``new_det_thresh`` too, and a reconditioned masklet takes over from the
    detection only what the two differ in. Either set goes with either network."""
    border_margin: float = 0.0
    """Detections whose box has its centre so near to the frame's edge are passed over, in parts of
    the frame's width and height."""

    isolate_objects: bool = False
    """In a network whose objects share memories (SAM 3.1's), give each a memory of its own: none
    changes what is found of another, at the price that sharing saves."""
    pack_objects: bool = False
    """In such a network, use every place again that nothing is remembered in any more, and divide
    objects that begin together over the free places. The original does neither, so after long
    coming and going it computes more, with other results."""

    reidentify_within: int = 0
    """A detection that would start a masklet is taken for one of its concept that the detector saw
    last at most so many frames ago; 0: never, as in the released model."""
    reidentify_distance: float = 0.1
    """It has to lie this near to where that was, in widths and heights of the frame,"""
    reidentify_speed: float = 0.05
    """or so much farther for each frame since then,"""
    reidentify_size_ratio: float = 0.15
    """and the smaller of the two boxes has to have this share of the larger one's area."""

    suppress_overlapping_based_on_recent_occlusion_threshold: float = 0.7
    """Of two masklets of a concept that overlap this much, the one occluded last is suppressed
    (if both have been); 0: never."""
    fill_hole_area: int = 16
    """Holes and specks of up to this many pixels of a low-resolution mask are removed; 0: never."""

    reencode_memory_on_new_objects: bool = False
    """When objects are added, encode that frame's memory of all other masklets anew, from
    unprocessed masks cut at 0, as transformers does. The original leaves them as they are."""

    def __post_init__(self) -> None:
        self._check_types()
        self._check_ranges()
        if self.association_rules not in (SAM3_RULES, SAM31_RULES):
            raise ConfigError(
                f"association_rules is {self.association_rules!r}; it must be {SAM3_RULES!r} or "
                f"{SAM31_RULES!r}"
            )
        if self.hotstart_delay > 0:
            for name in ("hotstart_unmatch_thresh", "hotstart_dup_thresh"):
                if getattr(self, name) > self.hotstart_delay:
                    raise ConfigError(
                        f"{name} is {getattr(self, name)}; it must be at most hotstart_delay "
                        f"({self.hotstart_delay}), or it could never be reached"
                    )
        low, start, high = (
            self.min_trk_keep_alive,
            self.init_trk_keep_alive,
            self.max_trk_keep_alive,
        )
        if not low <= start <= high:
            raise ConfigError(
                f"init_trk_keep_alive is {start}; it must lie between min_trk_keep_alive ({low}) "
                f"and max_trk_keep_alive ({high})"
            )

    def _check_types(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.type == "float" and type(value) is int:
                object.__setattr__(self, spec.name, float(value))
            elif type(value).__name__ != spec.type:
                raise ConfigError(f"{spec.name} is {value!r}; it must be of type {spec.type}")

    def _check_ranges(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.type == "float" and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{spec.name} is {value}; it must lie in [0, 1]")
        for name, least in (
            ("low_res_mask_size", 1),
            ("max_num_objects", 1),
            ("recondition_every_nth_frame", 0),
            ("hotstart_delay", 0),
            ("hotstart_unmatch_thresh", 1),
            ("hotstart_dup_thresh", 1),
            ("reidentify_within", 0),
            ("fill_hole_area", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoConfig:
        """Read the top level of a ``config.json``, or any part of our own.

        The nested configurations of the two networks and what transformers writes into every file
        are passed over. ``max_num_objects`` of 10000, which there means no limit, becomes the
        default: nothing here is without limit.

        Raises:
            ConfigError: an unknown key, a value of the wrong type or out of its range.
        """
        known = {spec.name for spec in fields(cls)}
        unknown = sorted(set(values) - known - BOOKKEEPING - _NESTED)
        if unknown:
            raise ConfigError(
                f"video configuration has unknown keys {unknown}; known are {sorted(known)}"
            )
        taken = {name: values[name] for name in known if name in values}
        if taken.get("max_num_objects") == TRANSFORMERS_UNLIMITED:
            taken["max_num_objects"] = DEFAULT_MAX_NUM_OBJECTS
        return cls(**taken)

    @property
    def overlap(self) -> str:
        """How overlap with detections is measured: "iou", or "iom" over the smaller area."""
        return "iom" if self.association_rules == SAM31_RULES else "iou"

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` reads back, and transformers too."""
        return asdict(self)
