"""From a name to a network that turns a batch of pixels into views.

`card` says what a model is and is free of torch; `describe` makes one in a process of
its own; `load` gives the network itself.
"""
