"""The places events go to: one file per sink, and an explicit registry."""
