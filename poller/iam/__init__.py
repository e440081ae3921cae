"""The least IAM policies that a configuration needs."""
