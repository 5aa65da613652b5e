"""The dashboard: the maps of stored studies in a browser.

Layout and callbacks; all numbers are those of `covsvc`'s maps, and are asked of it.
"""
