"""The archive index: what is seen in thousands of videos, as rows that can be searched."""
