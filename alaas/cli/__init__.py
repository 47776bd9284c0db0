"""The command line: data to standard output, progress and logs to standard error.

`app` puts the commands together, each of which is a module. They import what is heavy when
they run, so that ``alaas --help`` answers at once, whatever is installed.
"""
