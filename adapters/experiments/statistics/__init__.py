"""The statistics of experiments: pure functions of counts and sums, valid at every look.

Nothing here reads a store or decides what serves. Serving does not import this package.
"""
