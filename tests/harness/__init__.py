"""What tests share: one clock, one receiver, one service, one bench, one daemon, one PostgreSQL."""
