"""``fastvoicegrad live``: a voice changer from microphone to headphones (extra ``live``).

The audio callback of a device passes samples through `engine.Engine`, which never lets it wait. A worker thread
converts. `files` plays a file through the same path, so all of it can be tested without a sound card.
"""
