"""Answers from an index: queries, hits, and what belongs to them. No torch, no Ray."""

from maskstream.pipeline.archive.search.hits import Hit, Observation, Page
from maskstream.pipeline.archive.search.index import Index
from maskstream.pipeline.archive.search.pictures import SeenFrame
from maskstream.pipeline.archive.search.query import Companion, Query, Region
from maskstream.pipeline.archive.search.vocabulary import Concept

__all__ = [
    "Companion",
    "Concept",
    "Hit",
    "Index",
    "Observation",
    "Page",
    "Query",
    "Region",
    "SeenFrame",
]
