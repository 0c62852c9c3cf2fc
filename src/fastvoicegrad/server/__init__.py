"""``fastvoicegrad serve``: voice conversion over HTTP, in the shape of the ElevenLabs API (extra ``serve``).

A request passes `guard` (key, limits), `conversion` and `voices` (the routes), `jobs` (a place in the queue, a worker
thread) and `work` (the conversion itself). The answer streams while the conversion goes on.
"""
