"""Active learning on 1,797 real handwritten digits, through a real server, in minutes.

`alaas.demo.run.run` plays it and `alaas.demo.report.show` prints what came out. Both
modules are light: numpy, torch and scikit-learn are loaded when the demo starts.
"""
