"""What every sink shares that posts to a URL: settings, client, address check, meaning of answers."""
