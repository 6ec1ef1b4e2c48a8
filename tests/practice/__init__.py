"""The practice server: the routes that misbehave, and OCR.space with an engine behind it."""
