"""Why a model answers as it does: class activation maps, occlusion, and pictures of both. Imports the pipeline."""
