"""The page /ui for admins: drawn by the server, in English and Turkish, light and dark, without a script.

A view is a function of a `PageRequest` that gives an answer; `frame.py` sees to who asks and how it is sent.
"""
