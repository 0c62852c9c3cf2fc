"""The page for the browser: Gradio over `VoiceConverter`, `VoiceLibrary` and `Batch`.

`pictures`, `studio` and `arena` do the work without Gradio. `parts`, `page` and `arena_tab` are the layout. `run` opens
and closes the page.
"""

import os

# Gradio reads these when it is imported. The page works offline, and nothing about it leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_RUN_HISTORY"] = "False"
os.environ["GRADIO_SHARE"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
