"""The server's log, which goes where uvicorn's goes."""

import logging

log = logging.getLogger("uvicorn.error")
