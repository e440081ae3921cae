"""What strangers send, in every form that a fuzzer thinks of."""
