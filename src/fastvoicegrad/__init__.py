"""FastVoiceGrad: one-step diffusion voice conversion (arXiv 2409.02245) on an ordinary CPU."""

from .bundle import Bundle
from .converter import Conversion, VoiceConverter
from .errors import InputError
from .version import __version__
from .voice import Voice

__all__ = ["Bundle", "Conversion", "InputError", "Voice", "VoiceConverter", "__version__"]
