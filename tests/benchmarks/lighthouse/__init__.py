"""What Lighthouse, Google's check of web pages, makes of the site: `make lighthouse`."""
