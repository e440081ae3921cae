"""Speed and memory, measured against named rivals in the same run. `make bench` runs it."""
