"""Jobs: queries and pushes that run on after the request that started them."""
