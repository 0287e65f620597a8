"""What measures: speed and memory, against the reference and over long streams, and quality."""
