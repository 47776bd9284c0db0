"""A whole query: the stages, the engines that run them, and the choice at the end."""
