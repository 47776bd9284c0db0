"""What is kept of items that were seen: views by content, addresses, named pools."""
