"""Other projects doing the same job, each through its public interface.

Every file is a script that runs in an environment of its own, beside which this project is
not installed, and answers questions on its standard input (`channel`).
"""
