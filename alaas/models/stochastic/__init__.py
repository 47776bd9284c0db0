"""Several predictions of an item that really differ.

A draw is a network: one set of masks, one member of an ensemble, one way to look at a
picture. It is the same for every item of a query, in whichever micro-batch and replica the
item comes. Only so do draws of two items tell of the same network, which is what strategies
that weigh items together (BatchBALD, EPIG) compare. Nobody else's random numbers change, and
the network stays in evaluation mode, its normalisations too.

================  ========================================================================
`words`, `masks`  which units or weights a pass keeps
`dropout`         Monte Carlo dropout: units are dropped in the layers that are there for it
`dropconnect`     weights are dropped, so that a network needs no such layers
`head`            the last layer's draws again, from embeddings that are stored
`ensemble`        several trained networks
`augmentation`    one network looks at a picture in several ways
`choice`          which of these the configuration asks for
`passes`          the first two for those who run their network themselves
================  ========================================================================
"""
