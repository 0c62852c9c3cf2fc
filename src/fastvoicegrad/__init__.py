"""FastVoiceGrad: one-step diffusion voice conversion (arXiv 2409.02245) on an ordinary CPU."""

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime would write a device id into the user's cache when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from .errors import AudioWarning, InputError
from .version import __version__

if TYPE_CHECKING:
    from .bundle import Bundle
    from .converter import Conversion, VoiceConverter
    from .library import VoiceLibrary
    from .stream.bundle import StreamBundle
    from .stream.converter import StreamingConverter
    from .voice import Voice

__all__ = [
    "AudioWarning",
    "Bundle",
    "Conversion",
    "InputError",
    "StreamBundle",
    "StreamingConverter",
    "Voice",
    "VoiceConverter",
    "VoiceLibrary",
    "__version__",
]
_MODULES = {
    "Bundle": "bundle",
    "Conversion": "converter",
    "StreamBundle": "stream.bundle",
    "StreamingConverter": "stream.converter",
    "VoiceConverter": "converter",
    "VoiceLibrary": "library",
    "Voice": "voice",
}


def __getattr__(name: str) -> Any:
    """The public classes, imported when they are first used: the command line starts without them."""
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
