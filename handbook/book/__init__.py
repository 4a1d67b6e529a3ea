"""The whole handbook as one PDF and one EPUB, made of the built site: `make book`."""
