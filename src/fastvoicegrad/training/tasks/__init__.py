"""The tasks: one file for each network that is trained.

| idea | file |
|---|---|
| VoiceGrad: a diffusion model predicts the noise or v | teacher.py |
| adversarial conditional diffusion distillation: one step of the student | student.py, with `training/losses.py` |
| discriminators: waveform, VPFD, mel | adversary.py |
| losses on conversions: verifier, recogniser | student_losses.py |
| DiffVC: average-voice encoder, score network | diffvc_encoder.py, diffvc.py |
| the frozen networks: content, speaker, pitch, vocoder | content.py, speaker.py, pitch.py, vocoder.py |
| their streaming forms | stream_content.py, stream_pitch.py, stream_converter.py, stream_renderer.py |
"""
